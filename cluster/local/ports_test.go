package local

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

var free = Options{APIPort: Port{Given: true}, RaftPort: Port{Given: true}, ChainPort: Port{Given: true}}

func remembering(p ports) *folder {
	return &folder{path: "/somewhere", memory: memory{Version: memoryVersion, Nodes: len(p.API), Ports: p}}
}

// freePorts returns ports that nobody listens on, nor claims: for what listens nowhere.
func freePorts(t *testing.T, nodes int) ports {
	t.Helper()
	p, err := choosing(t, free, &folder{fresh: true}, nodes)
	require.NoError(t, err)
	return p
}

// choosing chooses ports and gives them up.
func choosing(t *testing.T, o Options, f *folder, nodes int) (ports, error) {
	t.Helper()
	defer f.claims.release()
	return choosePorts(t.Context(), o, f, nodes)
}

// freePorts returns ports that are the folder's own until it is closed.
func (f *folder) freePorts(t *testing.T, nodes int) ports {
	t.Helper()
	p, err := choosePorts(t.Context(), free, f, nodes)
	require.NoError(t, err)
	return p
}

func TestPortsAreClaimedUntilTheFolderIsClosed(t *testing.T) {
	t.Parallel()
	a, err := openFolder(t.TempDir())
	require.NoError(t, err)
	p := a.freePorts(t, 1)
	b, err := openFolder(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.close()) })
	o := free
	o.APIPort.Number = p.API[0]
	_, err = choosePorts(t.Context(), o, b, 1)
	require.ErrorIs(t, err, ErrPort)
	require.ErrorContains(t, err, "--"+flagAPIPort)
	require.ErrorContains(t, err, "another keysteward-local")

	require.NoError(t, a.close())
	again, err := choosePorts(t.Context(), o, b, 1)
	require.NoError(t, err)
	require.Equal(t, p.API, again.API)
}

func TestFreePortsAreDistinct(t *testing.T) {
	t.Parallel()
	p := freePorts(t, 5)
	all := append(append([]int{p.Chain}, p.API...), p.Raft...)
	require.Len(t, all, 11)
	seen := map[int]bool{}
	for _, port := range all {
		require.False(t, seen[port], "port %d twice in %v", port, all)
		seen[port] = true
		require.GreaterOrEqual(t, port, pickFrom)
		require.Less(t, port, pickTo)
	}
}

func TestPortsOfAnEarlierStartGoOn(t *testing.T) {
	t.Parallel()
	before := freePorts(t, 3)
	defaults := Options{APIPort: Port{Number: DefaultAPIPort}, RaftPort: Port{Number: DefaultRaftPort}, ChainPort: Port{Number: DefaultChainPort}}
	for name, o := range map[string]Options{"flags left out": defaults, "zeros given": free} {
		p, err := choosing(t, o, remembering(before), 3)
		require.NoError(t, err, name)
		require.Equal(t, before, p, name)
	}
}

func TestPortsCanMoveButNotThoseOfRaft(t *testing.T) {
	t.Parallel()
	before, other := freePorts(t, 1), freePorts(t, 1)
	moved := free
	moved.APIPort.Number, moved.ChainPort.Number = other.API[0], other.Chain
	p, err := choosing(t, moved, remembering(before), 1)
	require.NoError(t, err)
	require.Equal(t, ports{API: other.API, Raft: before.Raft, Chain: other.Chain}, p)

	moved = free
	moved.RaftPort.Number = other.Raft[0]
	_, err = choosing(t, moved, remembering(before), 1)
	require.ErrorIs(t, err, ErrUsage)
	require.ErrorContains(t, err, "know each other")
}

func TestTakenPortNamesItsFlag(t *testing.T) {
	t.Parallel()
	l, err := listen(t)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	taken := l.Addr().(*net.TCPAddr).Port
	for flag, set := range map[string]func(*Options){
		flagAPIPort:   func(o *Options) { o.APIPort.Number = taken },
		flagRaftPort:  func(o *Options) { o.RaftPort.Number = taken },
		flagChainPort: func(o *Options) { o.ChainPort.Number = taken },
	} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			o := free
			set(&o)
			_, err := choosing(t, o, &folder{fresh: true}, 1)
			require.ErrorIs(t, err, ErrPort)
			require.ErrorContains(t, err, "--"+flag)
		})
	}
}

func TestTakenPortOfAnEarlierStart(t *testing.T) {
	t.Parallel()
	l, err := listen(t)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	taken := l.Addr().(*net.TCPAddr).Port
	before := freePorts(t, 1)
	before.API = []int{taken}
	_, err = choosing(t, Options{APIPort: Port{Number: DefaultAPIPort}}, remembering(before), 1)
	require.ErrorIs(t, err, ErrPort)
	require.ErrorContains(t, err, `make run ARGS="--api-port 0"`)
	p, err := choosing(t, free, remembering(before), 1) // as it says
	require.NoError(t, err)
	require.NotEqual(t, taken, p.API[0])
	require.Equal(t, before.Raft, p.Raft)

	before = freePorts(t, 1)
	before.Raft = []int{taken}
	_, err = choosing(t, free, remembering(before), 1)
	require.ErrorIs(t, err, ErrPort)
	require.ErrorContains(t, err, "use another --dir", "there is no other port to choose")
}

func TestOverlappingPortsAreRefused(t *testing.T) {
	t.Parallel()
	base := freePorts(t, 1).API[0]
	o := free
	o.APIPort.Number, o.ChainPort.Number = base, base
	_, err := choosing(t, o, &folder{fresh: true}, 1)
	require.ErrorIs(t, err, ErrPort)
	require.ErrorContains(t, err, "twice")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Options)
		says   string
	}{
		"no folder":         {func(o *Options) { o.Dir = "" }, "--dir"},
		"negative nodes":    {func(o *Options) { o.Nodes = -1 }, "--nodes"},
		"too many nodes":    {func(o *Options) { o.Nodes = maxNodes + 1 }, "--nodes"},
		"negative examples": {func(o *Options) { o.Examples = -1 }, "--examples"},
		"negative port":     {func(o *Options) { o.APIPort.Number = -1 }, "--api-port"},
		"port beyond all":   {func(o *Options) { o.ChainPort.Number = 65536 }, "--chain-port"},
		"no room for all":   {func(o *Options) { o.RaftPort.Number = 65530 }, "--raft-port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Dir: "x"}
			require.NoError(t, o.check())
			c.change(&o)
			err := o.check()
			require.ErrorIs(t, err, ErrUsage)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func listen(t *testing.T) (net.Listener, error) {
	t.Helper()
	return new(net.ListenConfig).Listen(t.Context(), "tcp", loopback+":0")
}
