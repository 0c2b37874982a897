package local

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

// as runs a client command under other credentials than those of an admin.
func (l *launcher) as(t *testing.T, credentials []string, name string, args ...string) (string, error) {
	t.Helper()
	line := append([]string{name, "--server", strings.Join(l.site.apiURLs(), ",")}, l.site.tls.clientArgs()...)
	out := new(bytes.Buffer)
	err := runCommand(t.Context(), l.spawner, l.binary, append(append(line, credentials...), args...), out, out)
	return out.String(), err
}

// Every way to say who one is, over real connections: a client certificate, a token of
// the cluster that is limited and revoked, and a pod's projected token, which a real
// API server vouches for.
func TestCallersOverTLS(t *testing.T) {
	t.Parallel()
	k := kubetest.Start(t)
	l := newLauncher(t, 3)
	var err error
	l.site.tls, err = openCertificates(l.folder, 3, l.site.host)
	require.NoError(t, err)
	l.site.more = func(int) []string {
		return []string{"--kubernetes", k.Kubeconfig, "--pods", "team-a/*,team-b/another=2"}
	}
	require.NoError(t, l.startNodes(t.Context()))
	require.NoError(t, l.initSeed(t.Context()))

	requireCertificate(t, l)
	requireLimitedToken(t, l)
	requirePodToken(t, l, k)
	out, err := l.keysteward(t, "audit", "list", "-o", "json")
	require.NoError(t, err)
	for _, want := range []string{"token.create", "token.revoke", "key.disclose", "team-a/web-0", `"certificate"`, `"pod"`} {
		require.Contains(t, out, want)
	}
	out, err = l.keysteward(t, "audit", "verify")
	require.NoError(t, err, out)
}

func requireCertificate(t *testing.T, l *launcher) {
	t.Helper()
	certificate := func(name, role string) []string {
		out, err := runOurs(t, l, "tls", "client", name, "--role", role, "--out", l.site.tls.folder)
		require.NoError(t, err, out)
		files, err := filepath.Glob(filepath.Join(l.site.tls.folder, "c*", name+".*"))
		require.NoError(t, err)
		require.Len(t, files, 2, "certificate and key")
		return []string{"--client-cert", strings.TrimSuffix(files[0], filepath.Ext(files[0])) + ".crt", "--client-key", strings.TrimSuffix(files[0], filepath.Ext(files[0])) + ".key"}
	}
	viewer, admin := certificate("vera", "viewer"), certificate("ada", "admin")
	out, err := l.as(t, viewer, "keys", "list")
	require.NoError(t, err, out)
	out, err = l.as(t, viewer, "tokens", "list")
	require.Error(t, err)
	require.Contains(t, out, "403 forbidden")
	require.Contains(t, out, "vera has the role viewer")
	out, err = l.as(t, admin, "tokens", "create", "by-certificate", "--role", "viewer")
	require.NoError(t, err, out)
	out, err = l.as(t, nil, "keys", "list")
	require.Error(t, err, "nobody")
	require.Contains(t, out, "401")
}

func runOurs(t *testing.T, l *launcher, args ...string) (string, error) {
	t.Helper()
	out := new(bytes.Buffer)
	err := runCommand(t.Context(), l.spawner, l.binary, args, out, out)
	return out.String(), err
}

func requireLimitedToken(t *testing.T, l *launcher) {
	t.Helper()
	file := l.folder.in("team-b.token")
	out, err := l.keysteward(t, "tokens", "create", "team-b", "--role", "operator", "--namespace", "team-b", "--expires-in", "1h", "--out", file, "-o", "json")
	require.NoError(t, err, out)
	team := []string{"--token-file", file}
	allocate := func(namespace string) (string, error) {
		return l.as(t, team, "allocate", "--namespace", namespace, "--pod", "job-0", "--pod-uid", podUID,
			"--keys", "1", "--out", filepath.Join(l.folder.path, "limited", namespace), "--layout", "teku")
	}
	out, err = allocate("team-b")
	require.NoError(t, err, out)
	out, err = allocate("team-a")
	require.Error(t, err)
	require.Contains(t, out, "403 forbidden")
	out, err = l.as(t, team, "seal", "status")
	require.Error(t, err, "the seal is the whole cluster's: %s", out)

	out, err = l.keysteward(t, "tokens", "list")
	require.NoError(t, err)
	id := ""
	for line := range strings.Lines(out) {
		if strings.Contains(line, "team-b") {
			id = strings.Fields(line)[0]
		}
	}
	require.NotEmpty(t, id, out)
	out, err = l.keysteward(t, "tokens", "revoke", id)
	require.NoError(t, err, out)
	require.Eventually(t, func() bool { // followers learn of it with the log
		out, err = l.as(t, team, "allocate", "--namespace", "team-b", "--pod", "job-0", "--keys", "1", "--out", filepath.Join(l.folder.path, "limited", "team-b"), "--layout", "teku")
		return err != nil && strings.Contains(out, "401")
	}, patience, 50*time.Millisecond, "a revoked token lets in: %s", late(&out))
}

func requirePodToken(t *testing.T, l *launcher, k *kubetest.Cluster) {
	t.Helper()
	project := func(pod, uid string) []string {
		file := l.folder.in(pod + ".projected")
		require.NoError(t, os.WriteFile(file, []byte(k.PodToken("team-a", pod, uid, "keysteward")), 0o600))
		return []string{"--token-file", file}
	}
	stranger := l.folder.in("stranger.projected") // its account is not on the list
	require.NoError(t, os.WriteFile(stranger, []byte(k.PodToken("team-b", "web-0", k.CreatePod("team-b", "web-0"), "keysteward")), 0o600))
	out, err := l.as(t, []string{"--token-file", stranger}, "allocate", "--keys", "1", "--namespace", "team-b", "--pod", "web-0", "--out", filepath.Join(l.folder.path, "stranger"), "--layout", "teku")
	require.Error(t, err)
	require.Contains(t, out, "403 forbidden")
	require.Contains(t, out, "team-b/"+kubetest.ServiceAccount)
	uid, otherUID := k.CreatePod("team-a", "web-0"), k.CreatePod("team-a", "web-1")
	own, other := project("web-0", uid), project("web-1", otherUID)
	allocate := func(credentials []string, folder string, more ...string) (string, error) {
		return l.as(t, credentials, "allocate", append(more, "--keys", "2", "--out", filepath.Join(l.folder.path, folder), "--layout", "teku")...)
	}
	out, err = allocate(other, "stolen", "--namespace", "team-a", "--pod", "web-0", "--pod-uid", uid)
	require.Error(t, err)
	require.Contains(t, out, "403 forbidden", "another pod's token")
	out, err = allocate(own, "web-0")
	require.NoError(t, err, out)
	readPod(t, filepath.Join(l.folder.path, "web-0"), 2)
	out, err = l.as(t, own, "keys", "list")
	require.Error(t, err, out)
	out, err = l.as(t, other, "release", "--namespace", "team-a", "--pod", "web-0")
	require.Error(t, err, out)
	out, err = l.as(t, own, "release", "--namespace", "team-a", "--pod", "web-0")
	require.NoError(t, err, out)
}
