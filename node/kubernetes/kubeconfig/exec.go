package kubeconfig

import (
	"fmt"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ExecVersion is the version of client-go's protocol for credential plug-ins.
const ExecVersion = "client.authentication.k8s.io/v1"

const installHint = `kubectl asks the program keysteward for your certificate and did not find it.
Install keysteward and see that it is on your PATH; it needs a way to log in to the Keysteward server,
as "keysteward kubeconfig get" does. Without it, ask for a kubeconfig with the certificate inside.`

// Plugin says how kubectl gets the certificate of a user: by "keysteward credential".
type Plugin struct {
	// Project and Cloud name the logical cloud.
	Project, Cloud string
	// Args follow the others, such as "--server" and a URL. No secrets: they end in a file.
	Args []string
}

// RenderExec writes the kubeconfig that [Render] writes, but for the certificates and
// keys: a plug-in fetches them, so it survives renewals and holds no secret. Every
// reference has a user of its own for the plug-in, named as Render names them. Errors
// wrap [ErrRender].
func RenderExec(user, namespace string, plugin Plugin, entries []Entry) ([]byte, error) {
	if plugin.Project == "" || plugin.Cloud == "" {
		return nil, fmt.Errorf("%w: the plug-in needs project and cloud", ErrRender)
	}
	return render(user, namespace, entries, func(e Entry) (*clientcmdapi.AuthInfo, error) {
		args := []string{"credential", "--project", plugin.Project, "--cloud", plugin.Cloud, "--ref", e.Reference}
		return &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
			APIVersion:      ExecVersion,
			Command:         "keysteward",
			Args:            append(args, plugin.Args...),
			InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
			InstallHint:     installHint,
		}}, nil
	})
}
