package local

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/pki"
)

// TestClusterOverTLS runs a cluster with TLS on both ports, renews its certificates
// while it runs, and has a node knock at the members' port that must not get in.
func TestClusterOverTLS(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := t.TempDir()
	l := launch(t, dir, "--tls").up()
	file := l.file()
	require.FileExists(t, file.CAFile)
	requireMode(t, filepath.Join(dir, "tls", "ca", "raft.key"), 0o600)
	for _, n := range file.Nodes {
		require.True(t, strings.HasPrefix(n.API, "https://"), n.API)
	}
	leader := l.leader()
	term := l.clusterBy(leader).Term
	requireRedirected(t, l, leader)
	require.Contains(t, pasted(t, l.out.String(), "look at the page"), "redirected")

	requireRenewed(t, l)
	requireStrangerStaysOut(t, l)
	requireFloodIsBorne(t, l, leader)

	// A busy machine may cost a leader its office once; who disturbs elections does so all the time.
	require.LessOrEqual(t, l.clusterBy(l.leader()).Term, term+2, "the members were disturbed")
	l.signal(syscall.SIGINT)
	require.Zero(t, l.end())

	// The folder stays one with TLS.
	l = launch(t, dir).up()
	require.True(t, strings.HasPrefix(l.file().Nodes[0].API, "https://"))
	require.Len(t, l.assignments(), 3)
}

// requireRedirected allocates through a follower, who sends on to the leader; nobody
// is trusted whom the authority does not vouch for.
func requireRedirected(t *testing.T, l *launched, leader ClusterNode) {
	t.Helper()
	keysteward, _ := binaries(t)
	file := l.file()
	follower := file.Nodes[0]
	if follower.ID == leader.ID {
		follower = file.Nodes[1]
	}
	args := []string{"--server", follower.API, "--token-file", file.AdminTokenFile}
	out := filepath.Join(l.dir, "pods", "redirected")
	allocate := append([]string{"allocate", "--pod", "redirected", "--keys", "1", "--out", out, "--layout", "teku", "--timeout", "1m", "--ca-file", file.CAFile}, args...)
	text, err := exec.CommandContext(t.Context(), keysteward, allocate...).CombinedOutput()
	require.NoError(t, err, "%s", text)
	readPod(t, out, 1)

	text, err = exec.CommandContext(t.Context(), keysteward, append([]string{"keys", "list", "--timeout", "1s"}, args...)...).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(text), "unknown authority")
	plain := strings.Replace(follower.API, "https://", "http://", 1)
	text, err = exec.CommandContext(t.Context(), keysteward, "keys", "list", "--timeout", "1s", "--server", plain, "--token-file", file.AdminTokenFile).CombinedOutput()
	require.Error(t, err, "%s", text)
}

// shown is the serial number of the certificate that a port shows.
func shown(t *testing.T, address, protocol string, config *tls.Config) string {
	t.Helper()
	config = config.Clone()
	config.NextProtos, config.ServerName, config.MinVersion = []string{protocol}, loopback, tls.VersionTLS13
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// shownByAll lists what every port shows now.
func shownByAll(t *testing.T, l *launched) (serials []string) {
	t.Helper()
	trust := func(name string) *x509.CertPool {
		text, err := os.ReadFile(filepath.Join(l.dir, "tls", "ca", name))
		require.NoError(t, err)
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM(text))
		return pool
	}
	node := filepath.Join(l.dir, "tls", "nodes", "n1")
	member, err := tls.LoadX509KeyPair(filepath.Join(node, "raft.crt"), filepath.Join(node, "raft.key"))
	require.NoError(t, err)
	for _, n := range l.file().Nodes {
		serials = append(serials,
			shown(t, strings.TrimPrefix(n.API, "https://"), "h2", &tls.Config{RootCAs: trust("api.crt")}),
			shown(t, n.Raft, "keysteward-peer/1", &tls.Config{RootCAs: trust("raft.crt"), Certificates: []tls.Certificate{member}}),
		)
	}
	return serials
}

// requireRenewed replaces all certificates under the running nodes.
func requireRenewed(t *testing.T, l *launched) {
	t.Helper()
	before := shownByAll(t, l)
	authorities, err := pki.OpenFolder(filepath.Join(l.dir, "tls"), time.Now())
	require.NoError(t, err)
	for i := range l.file().Nodes {
		_, err := authorities.IssueNode(pki.Node{Name: nodeName(i), Hosts: []string{loopback}}, nil, time.Hour)
		require.NoError(t, err)
	}
	var after []string
	require.Eventually(t, func() bool {
		after = shownByAll(t, l)
		for i := range after {
			if after[i] == before[i] {
				return false
			}
		}
		return true
	}, patience, 50*time.Millisecond, "a port shows its old certificate")
	_, err = l.keysteward("allocate", "--pod", "renewed", "--keys", "1", "--out", filepath.Join(l.dir, "pods", "renewed"), "--layout", "teku")
	require.NoError(t, err)
	status, metrics := ask(t, "GET", l.leader().API+"/metrics", l.file().AdminTokenFile, "text/plain", nil)
	require.Equal(t, 200, status)
	for _, port := range []string{"api", "raft"} {
		require.Contains(t, string(metrics), `keysteward_tls_certificates_valid{port="`+port+`"} 1`)
		require.Contains(t, string(metrics), `keysteward_tls_reload_failing{port="`+port+`"} 0`)
	}
	require.Contains(t, string(metrics), `keysteward_tls_certificate_expiry_timestamp_seconds{kind="own",port="raft"`)
}

// requireStrangerStaysOut runs a node whose certificate for the members' port is by
// the API's authority. It trusts the members, but they do not trust it.
func requireStrangerStaysOut(t *testing.T, l *launched) {
	t.Helper()
	keysteward, _ := binaries(t)
	file, dir := l.file(), t.TempDir()
	authority := func(name, kind string) []byte {
		text, err := os.ReadFile(filepath.Join(l.dir, "tls", "ca", name+"."+kind))
		require.NoError(t, err)
		return text
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "ca"), 0o700))
	for _, kind := range []string{"crt", "key"} { // the API's authority in both places
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ca", "api."+kind), authority("api", kind), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ca", "raft."+kind), authority("api", kind), 0o600))
	}
	folder, err := pki.OpenFolder(dir, time.Now())
	require.NoError(t, err)
	own, err := folder.IssueNode(pki.Node{Name: "n0", Hosts: []string{loopback}}, nil, time.Hour)
	require.NoError(t, err)
	both := filepath.Join(dir, "both.crt")
	require.NoError(t, os.WriteFile(both, bytes.Join([][]byte{authority("api", "crt"), authority("raft", "crt")}, nil), 0o600))

	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	peers := []string{"n0=" + address}
	for i, n := range file.Nodes {
		peers = append(peers, nodeName(i)+"="+n.Raft)
	}
	ctx, stop := context.WithCancel(t.Context())
	var out output
	cmd := exec.CommandContext(ctx, keysteward, "server", "--name", "n0", "--data-dir", filepath.Join(dir, "data"),
		"--token-hashes", filepath.Join(l.dir, "tokens", "hashes.json"), "--seal", "file:"+filepath.Join(l.dir, "kek"),
		"--api-addr", "127.0.0.1:0", "--raft-addr", address, "--peers", strings.Join(peers, ","),
		"--raft-tls-cert", filepath.Join(own, "raft.crt"), "--raft-tls-key", filepath.Join(own, "raft.key"), "--raft-tls-ca", both)
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		return strings.Contains(out.String(), "refuses this node's certificate")
	}, patience, 20*time.Millisecond, "it is not told why it does not get in: %s", &out)
	stop()
	_ = cmd.Wait()
	require.NotContains(t, out.String(), `msg="founding the cluster"`)
	log, err := os.ReadFile(filepath.Join(l.dir, "n1", "log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "a connection on the members' port was refused")
	require.Contains(t, string(log), "issued by CN=Keysteward API CA,O=Keysteward, does not hold under the authorities of members")
}

// requireFloodIsBorne opens connections to the leader that say nothing, far more than
// it keeps.
func requireFloodIsBorne(t *testing.T, l *launched, leader ClusterNode) {
	t.Helper()
	var files syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	before := resident(t, leader.PID)
	for range min(10_000, files.Cur/2) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(leader.API, "https://"))
		require.NoError(t, err)
		defer c.Close()
	}
	_, err := l.keysteward("allocate", "--pod", "flood", "--keys", "1", "--out", filepath.Join(l.dir, "pods", "flood"), "--layout", "teku")
	require.NoError(t, err)
	status, answer := ask(t, "GET", leader.API+"/readyz", "", asJSON, nil)
	require.Equal(t, 200, status, "%s", answer)
	grown := resident(t, leader.PID) - before
	t.Logf("the leader grew by %d KiB", grown)
	require.Less(t, grown, 256<<10)
}

// resident is the memory of a process in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "VmRSS:")
	require.True(t, found)
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kib
}
