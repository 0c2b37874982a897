package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a program that runs until it is stopped, by its own process ID.
type process struct {
	name string
	log  string // its output
	cmd  *exec.Cmd
	done chan struct{}
	err  error // once done
	once sync.Once
}

// start builds the program if need be, and runs it in dir until the test ends.
func start(t testing.TB, dir, name string, args ...string) *process {
	t.Helper()
	tool := exec.CommandContext(t.Context(), filepath.Join(root(t), "scripts", "tool"), name) //nolint:gosec // ours
	tool.Stderr = os.Stderr
	path, err := tool.Output()
	require.NoError(t, err, "scripts/tool %s", name)
	out, err := os.CreateTemp(dir, name+"-*.log")
	require.NoError(t, err)
	defer func() { _ = out.Close() }()
	p := &process{name: name, log: out.Name(), done: make(chan struct{})}
	p.cmd = exec.Command(strings.TrimSpace(string(path)), args...) //nolint:gosec,noctx // it is stopped, not killed
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.SysProcAttr = withParent()
	started := make(chan error)
	go p.run(started)
	require.NoError(t, <-started)
	t.Cleanup(p.kill)
	return p
}

// run starts the process and waits for it on one thread, which stays until then.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
}

// await waits until the process works; it fails at once if the process ends.
func (p *process) await(t testing.TB, works func() bool) {
	t.Helper()
	require.Eventually(t, func() bool { return p.ended() != nil || works() },
		startTimeout, 20*time.Millisecond, "%s does not work: %s", p.name, p.log)
	require.NoError(t, p.ended())
}

// ended is why the process is no longer there, nil while it is.
func (p *process) ended() error {
	select {
	case <-p.done:
		text, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s ended: %w\n%s", p.name, p.err, text)
	default:
		return nil
	}
}

// stop asks the process to end, and sees to it that it has.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(time.Second, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		<-p.done
	})
}

// kill ends the process, which leaves nothing that is of use after the test.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}
