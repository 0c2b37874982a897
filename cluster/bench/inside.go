package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
)

const stewardMemberArg = "steward-member" // first argument of the process that is one node without its API

// order is what a node without its API is told, one line of JSON on its input each; it
// answers each with one [told].
type order struct {
	Op         string       `json:"op"`
	Servers    []nodeServer `json:"servers,omitempty"`
	Keys       int          `json:"keys,omitempty"`
	KeysPerPod int          `json:"keysPerPod,omitempty"`
	Kind       string       `json:"kind,omitempty"`
	Clients    int          `json:"clients,omitempty"`
	Seconds    float64      `json:"seconds,omitempty"`
	Snapshot   bool         `json:"snapshot,omitempty"`
}

type nodeServer struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

type told struct {
	Error  string  `json:"error,omitempty"`
	ID     string  `json:"id,omitempty"`
	Leads  bool    `json:"leads,omitempty"`
	Ready  bool    `json:"ready,omitempty"`
	Why    string  `json:"why,omitempty"` // it is not ready
	Keys   int     `json:"keys,omitempty"`
	Heap   float64 `json:"heapMiB,omitempty"`
	RSS    float64 `json:"rssMiB,omitempty"`
	Figure figure  `json:"figure"`
	// The longest time without an acknowledged write, without and during a snapshot.
	LongestMs  float64 `json:"longestMs,omitempty"`
	SnapshotMs float64 `json:"snapshotMs,omitempty"`
	InItMs     float64 `json:"inItMs,omitempty"`
}

// openVault is that of a node which may always lead: nothing is sealed here.
type openVault struct{}

// Usable implements node.Vault.
func (openVault) Usable(*fsm.View) (string, bool) { return "", true }

// runSteward is one node, with everything but its API, until its input ends.
func runSteward(ctx context.Context, args []string) (err error) {
	if len(args) != 4 { //nolint:mnd // dir, name, address, patience
		return errors.New("a node needs its folder, its name, its address and its heartbeat time-out")
	}
	heartbeat, err := time.ParseDuration(args[3])
	if err != nil {
		return fmt.Errorf("heartbeat time-out: %w", err)
	}
	link, err := node.Listen(ctx, args[2], "")
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	n, err := node.Open(node.Config{
		Name: args[1], DataDir: args[0], APIAdvertise: "http://" + args[1] + ".test",
		HeartbeatTimeout: heartbeat, ElectionTimeout: heartbeat, LeaseTimeout: heartbeat / 2, //nolint:mnd // as much as is allowed
		Vault: openVault{}, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}, link)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	node.PaceCollector()
	n.Start()
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return fmt.Errorf("order: %w", err)
		}
		answer, err := obey(ctx, n, o)
		if err != nil {
			answer.Error = err.Error()
		}
		if err := out.Encode(answer); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return in.Err() //nolint:wrapcheck // the caller says whose it is
}

func obey(ctx context.Context, n *node.Node, o order) (told, error) {
	switch o.Op {
	case "status":
		return status(ctx, n), nil
	case "found":
		return told{}, n.Bootstrap(voters(o.Servers)) //nolint:wrapcheck // says what it is
	case "stock":
		return told{}, errors.Join(announce(ctx, n, o.Servers), stock(ctx, n, o.Keys, o.KeysPerPod))
	case "announce":
		return told{}, announce(ctx, n, o.Servers)
	case "load":
		return insideLoad(ctx, n, o)
	case "memory":
		return memory()
	}
	return told{}, fmt.Errorf("%w: %s", errSection, o.Op)
}

func voters(servers []nodeServer) []raft.Server {
	var list []raft.Server
	for _, s := range servers {
		list = append(list, raft.Server{ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address)})
	}
	return list
}

func status(ctx context.Context, n *node.Node) told {
	t := told{ID: n.ID(), Leads: n.Barrier(ctx) == nil, Ready: true}
	for _, c := range n.Checks() {
		if !c.OK {
			t.Ready, t.Why = false, c.Name+": "+c.Detail
		}
	}
	for _, count := range n.View().Meta().GetKeyCounts() {
		t.Keys += int(count) //nolint:gosec // a count
	}
	return t
}

// memory tells the live heap, and what the process has of the machine's memory.
func memory() (told, error) {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return told{}, fmt.Errorf("memory: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return told{}, fmt.Errorf("memory: %w", err)
	}
	t := told{Heap: float64(m.HeapAlloc) / (1 << 20)}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return told{}, fmt.Errorf("memory: %w", err)
			}
			t.RSS = kib / (1 << 10)
		}
	}
	return t, nil
}
