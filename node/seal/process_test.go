package seal

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soon bounds every wait for another process.
const soon = 20 * time.Second

// shortDir is a folder whose path leaves room for the name of a socket, of which the
// kernel takes 107 bytes.
func shortDir(t testing.TB) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "ks") //nolint:usetesting // t.TempDir is too long
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}

// process is a program that the test started and alone stops.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
}

// start runs the command until the socket answers.
func start(t testing.TB, socket string, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	require.NoError(t, cmd.Start())
	p := &process{t: t, cmd: cmd}
	t.Cleanup(p.kill)
	require.Eventually(t, func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, soon, 5*time.Millisecond, "%s does not listen", filepath.Base(cmd.Path))
	return p
}

func (p *process) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// softTPM starts the real swtpm on this state; the same state is the same TPM.
func softTPM(t testing.TB, state, socket string) *process {
	t.Helper()
	swtpm, err := exec.LookPath("swtpm")
	require.NoError(t, err, "the tests of TPMs need swtpm: scripts/apt-install swtpm swtpm")
	return start(t, socket, exec.Command(swtpm, "socket", "--tpm2", "--tpmstate", "dir="+state,
		"--server", "type=unixio,path="+socket, "--flags", "not-need-init,startup-clear"))
}

// newSoftTPM starts an swtpm with a state of its own.
func newSoftTPM(t testing.TB) (KEK, *process) {
	t.Helper()
	folder := shortDir(t)
	socket := filepath.Join(folder, "tpm")
	return parsed(t, "tpm:unix:"+socket), softTPM(t, folder, socket)
}

func parsed(t testing.TB, description string) KEK {
	t.Helper()
	kek, err := ParseKEK(description)
	require.NoError(t, err)
	return kek
}
