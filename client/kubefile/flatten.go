package kubefile

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// maxToken bounds a token file, in bytes.
const maxToken = 64 << 10

// Flatten reads a kubeconfig, keeps one context with its cluster and user, and embeds
// the files that they name: authorities, certificate, key and token. Paths in it are
// relative to its folder, as kubectl has it. An empty context means the current one.
// What is returned holds a credential; the caller clears it.
func Flatten(path, context string) ([]byte, error) {
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	if context != "" {
		config.CurrentContext = context
	}
	if config.CurrentContext == "" {
		return nil, fmt.Errorf("kubeconfig %s has no current context: choose one of its %d contexts", path, len(config.Contexts))
	}
	if err := clientcmdapi.MinifyConfig(config); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	if err := clientcmdapi.FlattenConfig(config); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	for _, user := range config.AuthInfos {
		if err := embedToken(user, filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
		}
	}
	flat, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return flat, nil
}

// embedToken is what FlattenConfig leaves out. The file goes before a token beside it,
// as with client-go.
func embedToken(user *clientcmdapi.AuthInfo, folder string) error {
	if user.TokenFile == "" {
		return nil
	}
	name := user.TokenFile
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxToken {
		return fmt.Errorf("%s is no token file: want a regular file of at most %d KiB", name, maxToken>>10)
	}
	token, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	user.Token, user.TokenFile = string(token), ""
	clear(token)
	return nil
}
