package kubefile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	text := fresh(t, "1", "eu", "us")
	tests := []struct {
		name, before string
		force, fails bool
	}{
		{name: "empty", before: ""},
		{name: "the one before", before: string(fresh(t, "0", "eu"))},
		{name: "other contexts too", before: kindConfig, fails: true},
		{name: "no kubeconfig", before: "dear diary\n", fails: true},
		{name: "no contexts", before: "{}", fails: true},
		{name: "forced", before: kindConfig, force: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "config", test.before)
			err := Write(path, text, test.force)
			after, err2 := os.ReadFile(path)
			require.NoError(t, err2)
			if test.fails {
				require.ErrorIs(t, err, ErrOccupied)
				require.Equal(t, test.before, string(after))
				return
			}
			require.NoError(t, err)
			require.Equal(t, text, after)
			_ = load(t, path)
			files, err := os.ReadDir(filepath.Dir(path))
			require.NoError(t, err)
			require.Len(t, files, 1)
		})
	}
}

func TestWriteFollowsNoLink(t *testing.T) {
	t.Parallel()
	target := write(t, "target", "dear diary\n")
	link := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.Symlink(target, link))
	require.NoError(t, Write(link, fresh(t, "1", "eu"), false))
	text, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, "dear diary\n", string(text))
	_ = load(t, link)

	require.ErrorIs(t, Write(t.TempDir(), fresh(t, "1", "eu"), true), ErrOccupied)
	require.ErrorIs(t, Write("/dev/null", fresh(t, "1", "eu"), true), ErrOccupied)
	require.ErrorIs(t, Write(filepath.Join(t.TempDir(), "no", "folder"), fresh(t, "1", "eu"), true), os.ErrNotExist)
}

func TestFlatten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"ca": "CA", "crt": "CRT", "key": "KEY", "token": "TOKEN\n", "config": `
current-context: gone
contexts:
- {name: certificate, context: {cluster: a, user: certificate}}
- {name: token, context: {cluster: a, user: token}}
- {name: missing, context: {cluster: a, user: missing}}
- {name: lost, context: {cluster: a, user: lost}}
- {name: folder, context: {cluster: a, user: folder}}
clusters:
- {name: a, cluster: {server: "https://a", certificate-authority: ca}}
- {name: b, cluster: {server: "https://b", certificate-authority: not-there}}
users:
- {name: certificate, user: {client-certificate: crt, client-key: ` + filepath.Join(dir, "key") + `}}
- {name: token, user: {token: old, tokenFile: token}}
- {name: missing, user: {client-certificate: nowhere}}
- {name: folder, user: {tokenFile: .}}
`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	path := filepath.Join(dir, "config")
	flat, err := Flatten(path, "certificate")
	require.NoError(t, err)
	config, err := clientcmd.Load(flat)
	require.NoError(t, err)
	require.Equal(t, "certificate", config.CurrentContext)
	require.Len(t, config.Clusters, 1)
	require.Len(t, config.AuthInfos, 1)
	require.Equal(t, "CA", string(config.Clusters["a"].CertificateAuthorityData))
	require.Equal(t, "KEY", string(config.AuthInfos["certificate"].ClientKeyData))
	require.Equal(t, "CRT", string(config.AuthInfos["certificate"].ClientCertificateData))
	require.Empty(t, clientcmd.GetConfigFileReferences(config)[0])

	flat, err = Flatten(path, "token")
	require.NoError(t, err)
	config, err = clientcmd.Load(flat)
	require.NoError(t, err)
	require.Equal(t, "TOKEN\n", config.AuthInfos["token"].Token)
	require.Empty(t, config.AuthInfos["token"].TokenFile)

	for context, says := range map[string]string{
		"": "gone", "other": "other", "missing": "nowhere", "lost": "lost", "folder": "no token file",
	} {
		_, err := Flatten(path, context)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, path)
	}
	_, err = Flatten(filepath.Join(dir, "nowhere"), "")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := fresh(t, "1", "eu", "us")
	text, err := Check(good, nil)
	require.NoError(t, err)
	require.Equal(t, good, text)
	plugin := &Plugin{Command: "keysteward", Args: func(reference string) []string { return []string{"credential", reference} }}
	text, err = Check(good, plugin)
	require.NoError(t, err)
	require.NotContains(t, string(text), "client-key-data")
	config, err := clientcmd.Load(text)
	require.NoError(t, err)
	require.Equal(t, []string{"credential", "us"}, config.AuthInfos["alice@us"].Exec.Args)

	for name, change := range map[string]func(c *unsafe){
		"a program": func(c *unsafe) {
			c.user = `{exec: {apiVersion: client.authentication.k8s.io/v1, command: a, interactiveMode: Never}}`
		},
		"a file": func(c *unsafe) { c.user = `{client-certificate-data: YQ==, client-key: /etc/passwd}` },
		"a token file": func(c *unsafe) {
			c.user = `{client-certificate-data: YQ==, client-key-data: YQ==, tokenFile: /etc/passwd}`
		},
		"no key":     func(c *unsafe) { c.user = `{token: a}` },
		"any server": func(c *unsafe) { c.cluster = `{server: "https://a", insecure-skip-tls-verify: true}` },
		"a proxy":    func(c *unsafe) { c.cluster = `{server: "https://a", proxy-url: "http://b"}` },
	} {
		c := &unsafe{user: `{client-certificate-data: YQ==, client-key-data: YQ==}`, cluster: `{server: "https://a"}`}
		_, err := Check(c.text(), nil)
		require.NoError(t, err)
		change(c)
		_, err = Check(c.text(), nil)
		require.ErrorIs(t, err, ErrUnsafe, name)
	}
	_, err = Check([]byte("{}"), nil)
	require.Error(t, err)
}

type unsafe struct{ user, cluster string }

func (u unsafe) text() []byte {
	return []byte("current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: " + u.cluster + "}]\nusers: [{name: a, user: " + u.user + "}]\n")
}
