package kubeconfig

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ErrRender is wrapped by errors about what can not become a kubeconfig.
var ErrRender = errors.New("no kubeconfig can be made of that")

// Entry is one cluster reference in the kubeconfig of a user.
type Entry struct {
	// Reference names the cluster in the kubeconfig.
	Reference string
	// Cluster is the public part of the registered cluster.
	Cluster Public
	// Certificate and Key are the user's, in PEM. [RenderExec] needs neither.
	Certificate []byte
	Key         []byte `json:"-"`
}

// LogValue redacts all but the reference for log/slog.
func (e Entry) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(e)) }

// Format writes the reference and redacts the rest for every verb.
func (e Entry) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "entry "+e.Reference+" [key redacted]")
}

// Render writes the kubeconfig of a user of a logical cloud, with a certificate and key
// for every reference. Each cluster is named after its reference, each context
// "<user>@<reference>" with the namespace, and the first reference's is the current one.
// The user of a single entry is named after the user. With several, each certificate
// needs a user of its own, named like the context. The same input gives the same bytes.
//
// Errors wrap [ErrRender]: no entry, a reference twice, an empty certificate or key, a
// key of another certificate, and whatever clientcmd does not accept.
func Render(user, namespace string, entries []Entry) ([]byte, error) {
	return render(user, namespace, entries, func(e Entry) (*clientcmdapi.AuthInfo, error) {
		certificate, key, _, err := pair(e.Certificate, e.Key)
		if err != nil {
			return nil, err
		}
		return &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}, nil
	})
}

// render writes a kubeconfig whose users come from credential.
func render(user, namespace string, entries []Entry, credential func(Entry) (*clientcmdapi.AuthInfo, error)) ([]byte, error) {
	if user == "" || len(entries) == 0 {
		return nil, fmt.Errorf("%w: there is no user or no reference", ErrRender)
	}
	config := clientcmdapi.NewConfig()
	for _, e := range entries {
		if _, twice := config.Clusters[e.Reference]; twice || e.Reference == "" {
			return nil, fmt.Errorf("%w: a reference is there twice or has no name: %.128q", ErrRender, e.Reference)
		}
		auth, err := credential(e)
		if err != nil {
			return nil, fmt.Errorf("%w: reference %q: %w", ErrRender, e.Reference, err)
		}
		context := user + "@" + e.Reference
		name := context
		if len(entries) == 1 {
			name = user
		}
		config.Clusters[e.Reference] = e.Cluster.cluster()
		config.AuthInfos[name] = auth
		config.Contexts[context] = &clientcmdapi.Context{Cluster: e.Reference, AuthInfo: name, Namespace: namespace}
	}
	config.CurrentContext = user + "@" + entries[0].Reference
	if err := clientcmd.Validate(*config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRender, err)
	}
	text, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRender, err)
	}
	return text, nil
}
