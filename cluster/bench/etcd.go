package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// etcdMember is one of the three processes of an etcd cluster.
type etcdMember struct {
	args   []string
	client string // URL for clients
	cmd    *exec.Cmd
}

// etcdCluster is what people would use instead: three nodes with the settings that
// etcd comes with, so also with fsync, on the same disk.
type etcdCluster struct {
	server, load string // programs
	members      []*etcdMember
	http         *http.Client
}

var errEtcd = errors.New("etcd")

// tool builds a pinned program, once, and returns its path.
func tool(ctx context.Context, script, name string) (string, error) {
	cmd := exec.CommandContext(ctx, script, name) //nolint:gosec // our own script
	var told bytes.Buffer
	cmd.Stderr = &told
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w: %s", name, err, told.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func startEtcd(ctx context.Context, dir, script string) (*etcdCluster, error) {
	c := &etcdCluster{http: &http.Client{Timeout: time.Second}}
	var err error
	if c.server, err = tool(ctx, script, "etcd"); err != nil {
		return nil, err
	}
	if c.load, err = tool(ctx, script, "benchmark"); err != nil {
		return nil, err
	}
	addresses, err := freeAddresses(ctx, 2*raftMembers)
	if err != nil {
		return nil, err
	}
	var all []string
	for i := range raftMembers {
		all = append(all, fmt.Sprintf("e%d=http://%s", i, addresses[i]))
	}
	for i := range raftMembers {
		peer, client := "http://"+addresses[i], "http://"+addresses[raftMembers+i]
		c.members = append(c.members, &etcdMember{client: client, args: []string{
			"--name", "e" + strconv.Itoa(i), "--data-dir", filepath.Join(dir, strconv.Itoa(i)), "--log-level", "error",
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--listen-client-urls", client, "--advertise-client-urls", client, "--initial-cluster", strings.Join(all, ","),
		}})
	}
	for _, m := range c.members {
		if err := c.start(m); err != nil {
			c.stop()
			return nil, err
		}
	}
	if err := poll(ctx, startTimeout, func() bool { return c.put(ctx, c.members...) == nil }); err != nil {
		c.stop()
		return nil, fmt.Errorf("%w did not start: %w", errEtcd, err)
	}
	return c, nil
}

func (c *etcdCluster) start(m *etcdMember) error {
	m.cmd = exec.Command(c.server, m.args...) //nolint:gosec,noctx // a pinned tool, stopped by stop
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	return nil
}

func (c *etcdCluster) stop() {
	for _, m := range c.members {
		if m.cmd != nil && m.cmd.Process != nil {
			_ = m.cmd.Process.Kill()
			_ = m.cmd.Wait()
		}
	}
}

// post asks a member through its gateway, which is gRPC as JSON.
func (c *etcdCluster) post(ctx context.Context, m *etcdMember, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.client+path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errEtcd, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d: %w", errEtcd, resp.StatusCode, err)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%w: %w", errEtcd, err)
	}
	return nil
}

// put writes 256 bytes at whichever of the members takes it first.
func (c *etcdCluster) put(ctx context.Context, members ...*etcdMember) error {
	value := base64.StdEncoding.EncodeToString(make([]byte, commitBytes))
	var err error
	for _, m := range members {
		if err = c.post(ctx, m, "/v3/kv/put", `{"key":"cHV0","value":"`+value+`"}`, nil); err == nil {
			return nil
		}
	}
	return err
}

// leader asks who leads.
func (c *etcdCluster) leader(ctx context.Context) (*etcdMember, error) {
	for _, m := range c.members {
		var status struct {
			Header struct {
				MemberID string `json:"member_id"`
			} `json:"header"`
			Leader string `json:"leader"`
		}
		if c.post(ctx, m, "/v3/maintenance/status", "{}", &status) == nil && status.Leader != "" && status.Leader == status.Header.MemberID {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%w: no leader", errEtcd)
}

// failover kills the leader and times until another node acknowledges a write; the
// killed one is started again.
func (c *etcdCluster) failover(ctx context.Context) (time.Duration, error) {
	var leader *etcdMember
	err := poll(ctx, rejoinLimit, func() bool {
		var err error
		leader, err = c.leader(ctx)
		return err == nil && c.allAnswer(ctx)
	})
	if err != nil {
		return 0, fmt.Errorf("etcd is not whole: %w", err)
	}
	var others []*etcdMember
	for _, m := range c.members {
		if m != leader {
			others = append(others, m)
		}
	}
	begin := time.Now()
	if err := leader.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("kill etcd's leader: %w", err)
	}
	for c.put(ctx, others...) != nil {
		if time.Since(begin) > failoverLimit {
			return 0, errTimeout
		}
		time.Sleep(tryEvery)
	}
	took := time.Since(begin)
	_ = leader.cmd.Wait()
	return took, c.start(leader)
}

func (c *etcdCluster) allAnswer(ctx context.Context) bool {
	for _, m := range c.members {
		if c.put(ctx, m) != nil {
			return false
		}
	}
	return true
}
