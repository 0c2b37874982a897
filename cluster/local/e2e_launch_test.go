package local

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The end-to-end tests run real binaries as real processes on free ports. This file
// builds and starts them.

var (
	built     sync.Once
	builtInto string // removed by TestMain
	buildLog  string
	// slots bounds how many clusters run at a time: elections want a processor now and then.
	slots = make(chan struct{}, 2)
)

// binaries builds keysteward and keysteward-local, once, and returns their paths.
func binaries(t *testing.T) (keysteward, launcher string) {
	t.Helper()
	built.Do(func() {
		dir, err := os.MkdirTemp("", "keysteward-e2e-*") //nolint:usetesting // outlives this test
		if err != nil {
			buildLog = err.Error()
			return
		}
		builtInto = dir
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", dir+"/", ".", "./cluster/local/keysteward-local")
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildLog = err.Error() + "\n" + string(out)
		}
	})
	require.Empty(t, buildLog, "the binaries can not be built")
	return filepath.Join(builtInto, "keysteward"), filepath.Join(builtInto, "keysteward-local")
}

// takeSlot waits until this test may run a cluster.
func takeSlot(t *testing.T) {
	t.Helper()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
}

// output collects what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// launched is a launcher that runs.
type launched struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
}

// launch starts keysteward-local on the folder and free ports.
func launch(t *testing.T, dir string, args ...string) *launched {
	t.Helper()
	keysteward, launcher := binaries(t)
	args = append([]string{"--dir", dir, "--keysteward", keysteward, "--api-port", "0", "--raft-port", "0", "--chain-port", "0"}, args...)
	l := &launched{t: t, dir: dir, cmd: exec.Command(launcher, args...), out: new(output), done: make(chan struct{})}
	l.cmd.Stdout, l.cmd.Stderr = l.out, l.out
	require.NoError(t, l.cmd.Start())
	go func() { _ = l.cmd.Wait(); close(l.done) }()
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		<-l.done
		require.Eventually(t, func() bool { return len(processesOf(dir)) == 0 }, patience, 10*time.Millisecond, "processes are left behind")
		if t.Failed() {
			t.Logf("the launcher printed:\n%s", l.out)
			for i := range 3 {
				t.Logf("log of %s:\n%s", nodeName(i), logTail(filepath.Join(dir, nodeName(i), "log")))
			}
		}
	})
	return l
}

// up waits until the launcher has said all it has to say.
func (l *launched) up() *launched {
	l.t.Helper()
	l.await("Ctrl-C stops everything")
	return l
}

func (l *launched) await(text string) {
	l.t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(l.out.String(), text) {
		select {
		case <-l.done:
			require.Contains(l.t, l.out.String(), text, "the launcher ended")
			return
		case <-deadline.C:
			require.FailNow(l.t, "the launcher does not say "+text, l.out.String())
		case <-tick.C:
		}
	}
}

// signal sends a signal to the launcher itself.
func (l *launched) signal(sig syscall.Signal) {
	l.t.Helper()
	require.NoError(l.t, l.cmd.Process.Signal(sig))
}

// end waits for the launcher's end and returns its exit code; nothing may be left.
func (l *launched) end() int {
	l.t.Helper()
	select {
	case <-l.done:
	case <-time.After(2 * time.Minute):
		require.FailNow(l.t, "the launcher does not end", l.out.String())
	}
	require.Empty(l.t, processesOf(l.dir), "processes are left behind")
	return l.cmd.ProcessState.ExitCode()
}

func (l *launched) file() ClusterFile {
	l.t.Helper()
	c, err := ReadClusterFile(l.dir)
	require.NoError(l.t, err)
	return c
}

// keysteward runs a client command with the cluster's servers and admin token, and
// returns what it printed on stdout.
func (l *launched) keysteward(name string, args ...string) (stdout string, err error) {
	keysteward, _ := binaries(l.t)
	c := l.file()
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, n.API)
	}
	if c.CAFile != "" {
		args = append([]string{"--ca-file", c.CAFile}, args...)
	}
	args = append([]string{name, "--server", strings.Join(urls, ","), "--token-file", c.AdminTokenFile}, args...)
	cmd := exec.CommandContext(l.t.Context(), keysteward, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		l.t.Logf("keysteward %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return out.String(), err
}

// processesOf returns the processes whose command line names the folder, this one aside.
func processesOf(dir string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, _ := os.ReadFile(file)
		if strings.Contains(string(line), dir) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// ask sends a request, with the token of a file unless that is empty. No redirect is
// followed.
func ask(t *testing.T, method, url, tokenFile, accept string, body any) (status int, answer []byte) {
	t.Helper()
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		payload = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, payload)
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", accept)
	if tokenFile != "" {
		token, err := os.ReadFile(tokenFile)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	direct := &http.Client{
		Timeout:       10 * time.Second,
		Transport:     unverified,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := direct.Do(request)
	if err != nil {
		return 0, []byte(err.Error()) // nobody there; the caller may wait for somebody
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, answer
}

// unverified takes any certificate: what is read here is not secret, and client
// commands verify theirs.
var unverified = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}

const asJSON = "application/json"

// get asks for JSON and decodes it.
func get[T any](t *testing.T, url, tokenFile string) T {
	t.Helper()
	status, answer := ask(t, http.MethodGet, url, tokenFile, asJSON, nil)
	require.Equal(t, http.StatusOK, status, "%s", answer)
	var value T
	require.NoError(t, json.Unmarshal(answer, &value))
	return value
}
