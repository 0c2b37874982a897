package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/await"
)

// localCluster is a cluster that keysteward-local runs.
type localCluster struct {
	bin, dir string
	cmd      *exec.Cmd
	output   *bytes.Buffer
	token    string
	http     *http.Client
	stocked  bool // its pool has had keys
}

// clusterFile is the part of cluster.json that is needed here.
type clusterFile struct {
	Nodes []struct {
		ID  string `json:"id"`
		API string `json:"api"`
		PID int    `json:"pid"`
	} `json:"nodes"`
	Chain struct {
		RPC             string `json:"rpc"`
		DepositContract string `json:"depositContract"`
	} `json:"chain"`
	AdminTokenFile string `json:"adminTokenFile"`
}

const startTimeout = 90 * time.Second

var errTimeout = errors.New("took too long")

// startCluster starts three nodes with these flags besides.
func startCluster(ctx context.Context, bin, dir string, flags ...string) (*localCluster, error) {
	c := &localCluster{bin: bin, dir: dir, output: &bytes.Buffer{}, http: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 512},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
	args := []string{
		"--dir", dir, "--nodes", "3", "--api-port", "0", "--raft-port", "0", "--chain-port", "0",
		"--funding-eth", "1000000", // so that there is another account to compare with
		"--node-flag=--audit-file=", // as a server has it by default: what it would write is in the state already
	}
	for _, flag := range flags {
		args = append(args, "--node-flag="+flag)
	}
	c.cmd = exec.Command(filepath.Join(bin, "keysteward-local"), args...) //nolint:gosec,noctx // our own binary, stopped by its own signal
	c.cmd.Stdout, c.cmd.Stderr = c.output, c.output
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	err := poll(ctx, startTimeout, func() bool {
		f, err := c.file()
		if err != nil {
			return false
		}
		token, err := os.ReadFile(f.AdminTokenFile)
		c.token = strings.TrimSpace(string(token))
		return err == nil && c.allReady(ctx, f)
	})
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("start cluster: %w\n%s", err, c.output)
	}
	return c, nil
}

func (c *localCluster) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	_ = c.cmd.Wait()
}

func (c *localCluster) file() (clusterFile, error) {
	var f clusterFile
	b, err := os.ReadFile(filepath.Join(c.dir, "cluster.json"))
	if err != nil {
		return f, fmt.Errorf("cluster file: %w", err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("cluster file: %w", err)
	}
	return f, nil
}

func (c *localCluster) allReady(ctx context.Context, f clusterFile) bool {
	for _, n := range f.Nodes {
		if status, _ := c.call(ctx, http.MethodGet, n.API+"/readyz", nil, nil); status != http.StatusOK {
			return false
		}
	}
	var seed wire.SeedStatus
	leader, err := c.leader(ctx)
	if err != nil {
		return false
	}
	_, _ = c.call(ctx, http.MethodGet, leader.API+"/v1/seed", nil, &seed)
	return seed.Installed
}

// leader returns the API URL and process ID of the node that leads.
func (c *localCluster) leader(ctx context.Context) (target, error) {
	f, err := c.file()
	if err != nil {
		return target{}, err
	}
	for _, n := range f.Nodes {
		var status wire.Cluster
		if code, err := c.call(ctx, http.MethodGet, n.API+"/v1/cluster", nil, &status); err != nil || code != http.StatusOK {
			continue
		}
		for _, l := range f.Nodes {
			if l.ID == status.Leader {
				return target{API: l.API, PID: l.PID}, nil
			}
		}
	}
	return target{}, errors.New("no leader")
}

type target struct {
	API string
	PID int
}

// call sends one request and decodes a JSON answer.
func (c *localCluster) call(ctx context.Context, method, url string, body, into any) (int, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, fmt.Errorf("encode: %w", err)
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return 0, fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", method, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && into != nil && resp.StatusCode < http.StatusMultipleChoices {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return resp.StatusCode, fmt.Errorf("answer: %w", err)
	}
	return resp.StatusCode, nil
}

// poll calls until it succeeds, for a bounded time.
func poll(ctx context.Context, limit time.Duration, done func() bool) error {
	return await.For(ctx, limit, errTimeout, done) //nolint:wrapcheck // says what it is
}
