package kubeconfig

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Parse reads the kubeconfig that an operator registers, in YAML or JSON, or base64 of
// either ([Decode]). Only its current context counts. A client certificate that has
// expired is accepted: see [Cluster.NotAfter]. Every error is a [*Refused].
func Parse(data []byte) (Cluster, error) {
	text, err := Decode(data)
	if err != nil {
		return Cluster{}, err
	}
	config, err := load(text)
	if err != nil {
		return Cluster{}, err
	}
	cluster, user, err := current(config)
	if err != nil {
		return Cluster{}, err
	}
	public, err := readCluster(cluster)
	if err != nil {
		return Cluster{}, err
	}
	secret, err := readUser(user)
	if err != nil {
		return Cluster{}, err
	}
	if secret.canonical, err = canonical(public, secret); err != nil {
		return Cluster{}, err
	}
	return Cluster{Public: public, secret: &secret}, nil
}

// current finds what the current context points to.
func current(config *clientcmdapi.Config) (*clientcmdapi.Cluster, *clientcmdapi.AuthInfo, error) {
	name := config.CurrentContext
	if name == "" {
		return nil, nil, refuse("current-context", "it is missing or empty: choose one (kubectl config use-context NAME)")
	}
	context := config.Contexts[name]
	if context == nil {
		return nil, nil, refuse("current-context", fmt.Sprintf("it points nowhere: there is no context %.64q", name))
	}
	cluster, user := config.Clusters[context.Cluster], config.AuthInfos[context.AuthInfo]
	switch {
	case cluster == nil:
		return nil, nil, refuse("context.cluster", fmt.Sprintf("it points nowhere: there is no cluster %.64q", context.Cluster))
	case user == nil:
		return nil, nil, refuse("context.user", fmt.Sprintf("it points nowhere: there is no user %.64q", context.AuthInfo))
	}
	return cluster, user, nil
}

// registered is the name of everything in a canonical kubeconfig.
const registered = "registered"

// canonical writes only what was understood.
func canonical(public Public, secret *credential) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[registered] = public.cluster()
	config.AuthInfos[registered] = &clientcmdapi.AuthInfo{
		Token:                 secret.token,
		ClientCertificateData: secret.certificate,
		ClientKeyData:         secret.key,
	}
	config.Contexts[registered] = &clientcmdapi.Context{Cluster: registered, AuthInfo: registered}
	config.CurrentContext = registered
	text, err := clientcmd.Write(*config)
	if err != nil {
		return nil, refuse("", "it can not be written anew")
	}
	if len(text) > MaxSize {
		return nil, tooLarge()
	}
	return text, nil
}

// cluster is the public part as a kubeconfig has it.
func (p Public) cluster() *clientcmdapi.Cluster {
	return &clientcmdapi.Cluster{Server: p.Server, TLSServerName: p.TLSServerName, CertificateAuthorityData: p.CA}
}
