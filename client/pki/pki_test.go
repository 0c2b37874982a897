package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func initFolder(t *testing.T, dir string, domains ...string) *Folder {
	t.Helper()
	f, err := InitFolder(dir, domains, AuthorityLifetime, time.Now())
	require.NoError(t, err)
	return f
}

func leafOf(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	require.NoError(t, err)
	return pair.Leaf
}

func verify(f *Authority, leaf *x509.Certificate, host string, use x509.ExtKeyUsage) error {
	roots := x509.NewCertPool()
	roots.AddCert(f.Certificate)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{use}})
	return err
}

func TestNodeCertificates(t *testing.T) {
	t.Parallel()
	f := initFolder(t, t.TempDir())
	dir, err := f.IssueNode(Node{Name: "n1", Hosts: []string{"n1.example", "10.0.0.1"}}, []string{"localhost", "127.0.0.1"}, time.Hour)
	require.NoError(t, err)
	api, raft := leafOf(t, filepath.Join(dir, "api")), leafOf(t, filepath.Join(dir, "raft"))
	const server, client = x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, host := range []string{"n1.example", "10.0.0.1", "localhost", "127.0.0.1"} {
		require.NoError(t, verify(f.API, api, host, server), host)
	}
	require.NoError(t, verify(f.Raft, raft, "n1.example", server))
	require.NoError(t, verify(f.Raft, raft, "10.0.0.1", client))
	require.Error(t, verify(f.Raft, raft, "localhost", server), "names of the API are not names of a member")
	require.Error(t, verify(f.API, api, "n1.example", client), "a node is no caller")
	require.Error(t, verify(f.Raft, api, "n1.example", server))
	require.Error(t, verify(f.API, raft, "n1.example", server))
	require.WithinDuration(t, time.Now().Add(time.Hour), api.NotAfter, time.Minute)
	require.True(t, api.NotBefore.Before(time.Now().Add(-time.Minute)), "for clocks that are slow")

	// What a node needs is in its folder, and no key of an authority.
	for _, name := range []string{"api", "raft"} {
		copied, err := os.ReadFile(filepath.Join(dir, name+"-ca.crt"))
		require.NoError(t, err)
		original, err := os.ReadFile(f.in("ca", name+".crt"))
		require.NoError(t, err)
		require.Equal(t, original, copied)
	}
	require.NoError(t, filepath.WalkDir(f.Path, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		if !entry.IsDir() {
			require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), path)
		}
		return nil
	}))
}

func TestCallerCertificates(t *testing.T) {
	t.Parallel()
	f := initFolder(t, t.TempDir())
	path, err := f.IssueCaller(Caller{Name: "alice", Role: "admin"}, time.Hour)
	require.NoError(t, err)
	leaf := leafOf(t, path)
	require.Equal(t, "alice", leaf.Subject.CommonName)
	require.Equal(t, []string{"keysteward:admin"}, leaf.Subject.Organization)
	require.NoError(t, verify(f.API, leaf, "", x509.ExtKeyUsageClientAuth))
	require.Error(t, verify(f.API, leaf, "", x509.ExtKeyUsageServerAuth), "a caller is no node")
	require.Error(t, verify(f.Raft, leaf, "", x509.ExtKeyUsageClientAuth))
}

// Authorities stay what they are; what they vouch for is renewed with new keys.
func TestFolderIsUsedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := initFolder(t, dir)
	require.True(t, first.Fresh)
	node := Node{Name: "n1", Hosts: []string{"n1.example"}}
	made, err := first.IssueNode(node, nil, time.Hour)
	require.NoError(t, err)
	before := leafOf(t, filepath.Join(made, "raft"))

	again := initFolder(t, dir)
	require.False(t, again.Fresh)
	require.True(t, first.API.Certificate.Equal(again.API.Certificate))
	_, err = again.IssueNode(node, nil, time.Hour)
	require.NoError(t, err)
	after := leafOf(t, filepath.Join(made, "raft"))
	require.NotEqual(t, before.PublicKey, after.PublicKey)
	require.NoError(t, verify(first.Raft, after, "n1.example", x509.ExtKeyUsageClientAuth))
}

func TestFoldersThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{"api.crt", "api.key", "raft.crt", "raft.key"} {
		t.Run("without "+missing, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			initFolder(t, dir)
			require.NoError(t, os.Remove(filepath.Join(dir, "ca", missing)))
			kept, err := os.ReadDir(filepath.Join(dir, "ca"))
			require.NoError(t, err)
			_, err = InitFolder(dir, nil, time.Hour, time.Now())
			require.ErrorIs(t, err, ErrFolder)
			left, err := os.ReadDir(filepath.Join(dir, "ca"))
			require.NoError(t, err)
			require.Len(t, left, len(kept), "nothing was made")
		})
	}
	t.Run("key of the other", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		initFolder(t, dir)
		require.NoError(t, os.Rename(filepath.Join(dir, "ca", "raft.key"), filepath.Join(dir, "ca", "api.key")))
		_, err := OpenFolder(dir, time.Now())
		require.ErrorIs(t, err, ErrAuthority)
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		_, err := OpenFolder(t.TempDir(), time.Now())
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := InitFolder(dir, nil, time.Hour, time.Now())
	require.NoError(t, err)
	path, err := f.IssueCaller(Caller{Name: "a", Role: "viewer"}, 1000*time.Hour)
	require.NoError(t, err)
	require.Equal(t, f.API.Certificate.NotAfter, leafOf(t, path).NotAfter, "no longer than its authority")
	later, err := OpenFolder(dir, time.Now().Add(2*time.Hour))
	require.NoError(t, err)
	_, err = later.IssueCaller(Caller{Name: "a", Role: "viewer"}, time.Hour)
	require.ErrorIs(t, err, ErrAuthority)
	require.ErrorContains(t, err, "expired at")
}

func TestDomains(t *testing.T) {
	t.Parallel()
	f := initFolder(t, t.TempDir(), "cluster.local")
	_, err := f.IssueNode(Node{Name: "n1", Hosts: []string{"n1.keysteward.cluster.local", "127.0.0.1"}}, []string{"localhost"}, time.Hour)
	require.NoError(t, err)
	for _, host := range []string{"n1.example", "10.0.0.1"} {
		_, err = f.IssueNode(Node{Name: "n1", Hosts: []string{host}}, nil, time.Hour)
		require.ErrorIs(t, err, ErrAuthority, host)
		require.ErrorContains(t, err, "can not vouch for n1")
	}
	_, err = InitFolder(t.TempDir(), []string{"*.x"}, time.Hour, time.Now())
	require.ErrorIs(t, err, ErrName)
}

func TestParseNodes(t *testing.T) {
	t.Parallel()
	nodes, err := ParseNodes([]string{"n1=a.example", "10.0.0.1", "n2=b.example"})
	require.NoError(t, err)
	require.Equal(t, []Node{{"n1", []string{"a.example", "10.0.0.1"}}, {"n2", []string{"b.example"}}}, nodes)
	for _, bad := range [][]string{
		{"a.example"}, {"=a"}, {"n1="}, {"n1=a", ""}, {"n1=a:8300"}, {"n1=*.example"}, {"../n1=a"}, {"n1=a", "n1=b"}, {"n1=0.0.0.0"}, {"n1=a..b"}, {"n1=-a"},
	} {
		_, err := ParseNodes(bad)
		require.ErrorIs(t, err, ErrName, bad)
	}
}

// Whatever was accepted is a file name of its own and a certificate that can be made.
func TestAcceptedNamesWork(t *testing.T) {
	t.Parallel()
	f := initFolder(t, t.TempDir())
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-zA-Z0-9._@/=*: -]{0,12}`).Draw(t, "text")
		if nodes, err := ParseNodes([]string{text}); err == nil {
			require.Equal(t, filepath.Base(nodes[0].Name), nodes[0].Name)
			_, err := f.Raft.Issue(Request{Name: nodes[0].Name, Hosts: nodes[0].Hosts, Server: true, Lifetime: time.Hour}, f.Now)
			require.NoError(t, err)
		}
		if c, err := ParseCaller(text); err == nil {
			require.Equal(t, filepath.Base(c.Name), c.Name)
			require.Contains(t, Roles(), c.Role)
		}
	})
}

func TestParseCaller(t *testing.T) {
	t.Parallel()
	c, err := ParseCaller("alice")
	require.NoError(t, err)
	require.Equal(t, Caller{"alice", "viewer"}, c)
	for _, bad := range []string{"", "=admin", "a=root", "a=", "../a", "a b", "a\n"} {
		_, err := ParseCaller(bad)
		require.ErrorIs(t, err, ErrName, "%q", bad)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	f := initFolder(t, t.TempDir())
	dir, err := f.IssueNode(Node{Name: "n1", Hosts: []string{"n1.example"}}, nil, time.Hour)
	require.NoError(t, err)
	list, err := Inspect(f.Path, time.Now())
	require.NoError(t, err)
	require.Len(t, list, 6)
	one, err := Inspect(filepath.Join(dir, "raft.crt"), time.Now().Add(2*time.Hour))
	require.NoError(t, err)
	require.Equal(t, []string{"n1.example"}, one[0].Hosts)
	require.Equal(t, []string{"server", "client"}, one[0].Uses)
	require.Equal(t, "expired", one[0].State)
	early, err := Inspect(f.in("ca", "api.crt"), time.Now().Add(-2*time.Hour))
	require.NoError(t, err)
	require.Equal(t, "not valid yet", early[0].State)
	_, err = Inspect(filepath.Join(dir, "raft.key"), time.Now())
	require.ErrorContains(t, err, "holds none")
	_, err = Inspect(filepath.Join(dir, "nothing"), time.Now())
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestKeysAreRedacted(t *testing.T) {
	t.Parallel()
	k := Key("hunter2")
	encoded, err := json.Marshal(map[string]any{"key": k})
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k)
	for _, text := range []string{fmt.Sprintf("%v %s %x %#v %v", k, k, k, k, Pair{Key: k}), string(encoded), log.String(), k.String()} {
		require.NotContains(t, text, "hunter2")
		require.NotContains(t, text, fmt.Sprintf("%x", "hunter2"))
		require.Contains(t, text, redaction)
	}
}
