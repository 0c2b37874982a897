package faults_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/chaos/faults"
	"github.com/keysteward/keysteward/cluster/local"
	"github.com/keysteward/keysteward/node/failpoint"
)

const (
	patience = 60 * time.Second
	tick     = 20 * time.Millisecond
)

// keysteward is the product with failpoints, built once.
var keysteward = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(built); path != "" {
		return path, nil
	}
	path := filepath.Join(folder, "keysteward")
	build := exec.Command("go", "build", "-tags", "failpoints", "-o", path, ".")
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// built names a binary that was built already.
const built = "FAULTS_TEST_KEYSTEWARD"

var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "faults"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// show is a cluster of three processes that faults happen to.
type show struct {
	faults.Stage

	t      *testing.T
	client *http.Client
}

// raise starts a cluster; before is called when nothing runs yet.
func raise(t *testing.T, o local.NodesOptions, before func(*show), flags ...string) *show {
	t.Helper()
	binary, err := keysteward()
	require.NoError(t, err)
	dir := t.TempDir()
	o.Dir, o.Keysteward, o.Count = filepath.Join(dir, "nodes"), binary, 3
	nodes, err := local.OpenNodesWith(t.Context(), o)
	require.NoError(t, err)
	s := &show{Stage: faults.Stage{Nodes: nodes, Points: failpoint.Folder(filepath.Join(dir, "points"))}, t: t, client: &http.Client{}}
	if ca := nodes.CA(); ca != "" {
		pem, err := os.ReadFile(ca)
		require.NoError(t, err)
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM(pem))
		s.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}
	}
	t.Cleanup(func() {
		if t.Failed() {
			for i := range 3 {
				t.Logf("%s:\n%s", faults.NodeName(i), nodes.LogTail(faults.NodeName(i)))
			}
		}
		require.NoError(t, nodes.Close())
	})
	require.NoError(t, os.Mkdir(string(s.Points), 0o700))
	if before != nil {
		before(s)
	}
	chain := local.ClusterChain{
		RPC: "http://" + nodes.ChainAddress(), ChainID: 1337, DepositContract: "0x4242424242424242424242424242424242424242", ForkVersion: "0x10000000",
	}
	require.NoError(t, nodes.Start(t.Context(), chain, func(int) []string { return flags }, []string{failpoint.Variable + "=" + string(s.Points)}))
	return s
}

// inject makes the fault happen and returns what heals it and waits until all are well.
func (s *show) inject(f faults.Fault) (heal func()) {
	s.t.Helper()
	undo, err := f.Inject(s.t.Context())
	require.NoError(s.t, err, f.Name())
	return func() {
		s.t.Helper()
		require.NoError(s.t, undo(s.t.Context()))
		s.well()
	}
}

// well waits until all nodes are ready and the cluster decides.
func (s *show) well() {
	s.t.Helper()
	require.NoError(s.t, s.Nodes.AwaitReady(s.t.Context()))
	s.decides()
}

// decides has the cluster agree on something.
func (s *show) decides() {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		defer cancel()
		out, err := s.Nodes.Keysteward(ctx, "tokens", "create", fmt.Sprintf("t%d", time.Now().UnixNano()), "--role", "viewer", "--expires-in", "0") // whatever a clock says
		require.NoError(c, err, out)
	}, patience, tick)
}

// logged waits until the log of a node, since a mark, has the text.
func (s *show) logged(i int, since int64, text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		b, err := os.ReadFile(s.Nodes.LogFile(i))
		return err == nil && int64(len(b)) >= since && strings.Contains(string(b[since:]), text)
	}, patience, tick, "%s does not say %q", faults.NodeName(i), text)
}

// mark is the end of a node's log.
func (s *show) mark(i int) int64 {
	info, err := os.Stat(s.Nodes.LogFile(i))
	require.NoError(s.t, err)
	return info.Size()
}

// nodeID is what a node's disk says.
func (s *show) nodeID(i int) string {
	b, _ := os.ReadFile(filepath.Join(s.Nodes.DataDir(i), "node-id"))
	return strings.TrimSpace(string(b))
}

// status is the HTTP status of a path of a node; 0 if it does not answer.
func (s *show) status(i int, path string) int { return s.get(i, path, "") }

// get is status under a token.
func (s *show) get(i int, path, token string) int {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Nodes.APIs()[i]+path, nil)
	require.NoError(s.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// leader is the node that says of itself that it leads; -1 if none does.
func (s *show) leader() int {
	for i := range 3 {
		var c wire.Cluster
		if s.ask(i, "/v1/cluster", &c) != nil {
			continue
		}
		for _, n := range c.Nodes {
			if n.ID == c.Leader && n.Raft == s.Nodes.RaftAddress(i) {
				return i
			}
		}
	}
	return -1
}

// ask decodes what a node answers to an admin.
func (s *show) ask(i int, path string, into any) error {
	token, err := os.ReadFile(s.Nodes.AdminToken())
	require.NoError(s.t, err)
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Nodes.APIs()[i]+path, nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}
