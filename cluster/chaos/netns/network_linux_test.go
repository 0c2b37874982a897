package netns_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/chaos/netns"
)

// The tests run in a namespace of their own: the program runs itself again there.
func TestMain(m *testing.M) {
	switch role := os.Getenv("NETNS_TEST_ROLE"); {
	case role == "answer":
		answer(os.Args[1])
	case role == "ask":
		ask(os.Args[1])
	case os.Getuid() == 0 && !netns.Inside():
		if err := netns.Enter(context.Background(), os.Args[1:]...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// answer echoes what it is sent.
func answer(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() { _, _ = io.Copy(c, c) }()
	}
}

// ask says how long each answer took, one after the other.
func ask(address string) {
	var c net.Conn
	for c == nil {
		c, _ = net.DialTimeout("tcp", address, time.Second)
	}
	b := make([]byte, 1)
	for range time.Tick(10 * time.Millisecond) {
		began := time.Now()
		if _, err := c.Write(b); err != nil {
			panic(err)
		}
		if _, err := io.ReadFull(c, b); err != nil {
			panic(err)
		}
		fmt.Println(time.Since(began).Milliseconds())
	}
}

// output is what a process printed.
type output struct {
	mu    sync.Mutex
	lines int
	last  int
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range bytes.Lines(b) {
		_, _ = fmt.Sscan(string(line), &o.last)
		o.lines++
	}
	return len(b), nil
}

func (o *output) get() (lines, last int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines, o.last
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	if !netns.Inside() {
		_, err := netns.New(2)
		require.Error(t, err)
		t.Log("needs root for the rest")
		return
	}
	n, err := netns.New(2)
	require.NoError(t, err)
	var children []*exec.Cmd
	t.Cleanup(func() {
		n.Close()
		for _, c := range children {
			_ = c.Wait()
			require.True(t, c.ProcessState.Sys().(syscall.WaitStatus).Signaled(), "it ended with its place")
		}
	})
	start := func(i int, role string, out io.Writer) {
		c := exec.Command(os.Args[0], net.JoinHostPort(n.Host(1), "7000")) //nolint:gosec // this very test
		c.Env = append(os.Environ(), "NETNS_TEST_ROLE="+role)
		c.Stdout, c.Stderr = out, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		require.NoError(t, n.Start(i, c))
		children = append(children, c)
	}
	var heard output
	start(1, "answer", nil)
	start(0, "ask", &heard)
	more := func(what string) {
		before, _ := heard.get()
		require.Eventually(t, func() bool { now, _ := heard.get(); return now > before+3 }, 20*time.Second, time.Millisecond, what)
	}
	none := func(what string) {
		before, _ := heard.get()
		require.Never(t, func() bool { now, _ := heard.get(); return now > before+1 }, 400*time.Millisecond, 10*time.Millisecond, what)
	}
	more("all is well")
	for what, undo := range map[string]func() func(){
		"one way":       func() func() { return n.Block(0, 1) },
		"the other way": func() func() { return n.Block(1, 0) },
		"cut":           func() func() { return n.Cut(1) },
	} {
		mend := undo()
		none(what)
		mend()
		mend()
		more("after " + what)
	}
	undo := n.CutOff(0)
	more("only we can not reach it")
	undo()

	undo = n.Delay(1, 0, 150*time.Millisecond)
	require.Eventually(t, func() bool { _, last := heard.get(); return last >= 150 && last < 2000 }, 20*time.Second, time.Millisecond, "late")
	undo()
	require.Eventually(t, func() bool { _, last := heard.get(); return last < 100 }, 20*time.Second, time.Millisecond, "in time again")
	c, err := net.DialTimeout("tcp", net.JoinHostPort(n.Host(1), "7000"), 5*time.Second)
	require.NoError(t, err, "this process reaches nodes, too")
	require.NoError(t, c.Close())
}
