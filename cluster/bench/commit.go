package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

const (
	commitBytes   = 256
	raftMembers   = 3
	raftMemberArg = "raft-member" // first argument of the process that is one member
)

// measureCommits is the yardstick: how long Raft itself takes to commit 256
// bytes among three processes with our log on the same disk, for one client and
// for 64 in the leader's process. The members are this program again.
func measureCommits(ctx context.Context, dir string, duration time.Duration) ([]figure, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	addresses, err := freeAddresses(ctx, raftMembers)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout+4*duration)
	defer cancel()
	results := make(chan []figure, raftMembers)
	var members sync.WaitGroup
	defer members.Wait()
	defer cancel() // ends the members before they are waited for
	for i := range raftMembers {
		cmd := exec.CommandContext(ctx, self, raftMemberArg, filepath.Join(dir, strconv.Itoa(i)), strconv.Itoa(i), //nolint:gosec // this program
			strings.Join(addresses, ","), duration.String())
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, fmt.Errorf("start a member: %w", err)
		}
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("start a member: %w", err)
		}
		members.Go(func() {
			var figures []figure
			if line, err := bufio.NewReader(out).ReadBytes('\n'); err == nil && json.Unmarshal(line, &figures) == nil {
				results <- figures
			}
			_ = cmd.Wait() // ended by our signal
		})
	}
	select {
	case figures := <-results:
		return figures, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("no member became leader and finished: %w", errTimeout)
	}
}

// freeAddresses picks loopback ports that nobody has at the moment.
func freeAddresses(ctx context.Context, n int) ([]string, error) {
	var (
		lc        net.ListenConfig
		addresses []string
	)
	for range n {
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("pick a port: %w", err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

func commitLoad(ctx context.Context, leader *raft.Raft, clients int, duration time.Duration) (figure, error) {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var (
		mu        sync.Mutex
		latencies []time.Duration
		failure   error
		workers   sync.WaitGroup
	)
	begin := time.Now()
	for range clients {
		workers.Go(func() {
			payload := make([]byte, commitBytes)
			for ctx.Err() == nil {
				start := time.Now()
				err := leader.Apply(payload, time.Second).Error()
				mu.Lock()
				latencies = append(latencies, time.Since(start))
				failure = errors.Join(failure, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return rate("raft alone, "+plural(clients, "client"), "commits/s", latencies, time.Since(begin)), failure
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}
