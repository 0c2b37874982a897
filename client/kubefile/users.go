package kubefile

import (
	"errors"
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ErrUnsafe is wrapped when a kubeconfig that came from a server would make kubectl run
// a program, read files, ask a proxy or believe any server.
var ErrUnsafe = errors.New("the kubeconfig is not safe to use")

// Plugin says how kubectl gets the certificates of users.
type Plugin struct {
	// Command is the program: a name that is looked up on the PATH, or a path.
	Command string
	// Args are its arguments for a cluster reference.
	Args func(reference string) []string
}

// Check reads a kubeconfig that came from a server and returns it unless it is more than
// certificates and keys; errors wrap [ErrUnsafe] then. With a plug-in the users get
// that one, and nothing else that the server said of them.
func Check(text []byte, plugin *Plugin) ([]byte, error) {
	config, err := clientcmd.Load(text)
	if err == nil {
		err = clientcmd.ConfirmUsable(*config, "")
	}
	if err != nil {
		return nil, fmt.Errorf("the new kubeconfig: %w", err)
	}
	for name, c := range config.Clusters {
		if c.InsecureSkipTLSVerify || c.CertificateAuthority != "" || c.ProxyURL != "" {
			return nil, fmt.Errorf("%w: cluster %q", ErrUnsafe, name)
		}
	}
	if plugin == nil {
		return text, checkUsers(config)
	}
	config.AuthInfos = map[string]*clientcmdapi.AuthInfo{}
	for _, c := range config.Contexts {
		config.AuthInfos[c.AuthInfo] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
			APIVersion:      "client.authentication.k8s.io/v1",
			Command:         plugin.Command,
			Args:            plugin.Args(c.Cluster),
			InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
			InstallHint:     "kubectl asks the program keysteward for your certificate, and did not find it: install it, and see that it is on your PATH.",
		}}
	}
	written, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("the new kubeconfig: %w", err)
	}
	return written, nil
}

// checkUsers wants a certificate and a key of each user, and nothing that kubectl would
// read or run.
func checkUsers(config *clientcmdapi.Config) error {
	for name, u := range config.AuthInfos {
		asks := u.Exec != nil || u.AuthProvider != nil || u.ClientCertificate+u.ClientKey+u.TokenFile != ""
		if asks || len(u.ClientCertificateData) == 0 || len(u.ClientKeyData) == 0 {
			return fmt.Errorf("%w: user %q", ErrUnsafe, name)
		}
	}
	return nil
}
