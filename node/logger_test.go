package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the library says about connections that end is an error while the node
// runs, and none when it leaves; other errors stay what they are.
func TestRaftLoggerWhileLeaving(t *testing.T) {
	t.Parallel()
	closed := &net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}
	for name, c := range map[string]struct {
		leaving bool
		err     error
		want    string
	}{
		"running":            {false, closed, "ERROR"},
		"leaving":            {true, closed, "DEBUG"},
		"wrapped":            {true, fmt.Errorf("accept: %w", net.ErrClosed), "DEBUG"},
		"the library closed": {true, raft.ErrTransportShutdown, "DEBUG"},
		"a member left too":  {true, io.EOF, "DEBUG"},
		"a member is gone":   {true, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, "DEBUG"},
		"it is slow":         {false, io.EOF, "ERROR"},
		"the disk":           {true, errors.New("disk full"), "ERROR"},
		"no error":           {true, nil, "ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			var leaving atomic.Bool
			log := raftLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), leaving.Load)
			leaving.Store(c.leaving)
			log.Named("net").Error("failed to decode incoming command", "error", c.err)
			require.Contains(t, out.String(), "level="+c.want+" ")
		})
	}
}

// Nobody is alarmed by nodes that leave as they were told to.
func TestLeavingLogsNoErrors(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, calm)
	c.done("x")
	c.agree()
	var all sync.WaitGroup
	for _, m := range c.members {
		m.leaving.Store(true) // what StepDown does first
	}
	for _, m := range c.members {
		all.Go(func() { assert.NoError(t, m.Close()) })
	}
	all.Wait()
	for _, m := range c.members {
		require.False(t, m.journal.has("level=ERROR"), m.Name())
	}
}
