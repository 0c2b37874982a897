package local

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/kms/pkg/service"
)

// beside is a program beside a cluster that is started and killed again and again; it
// listens on a socket.
type beside struct {
	t      *testing.T
	folder string
	args   []string
	cmd    *exec.Cmd
}

// newBeside prepares a program; its arguments are made from its folder, the path of
// which leaves room for the name of a socket.
func newBeside(t *testing.T, args func(folder, socket string) []string) *beside {
	t.Helper()
	folder, err := os.MkdirTemp("", "ks") //nolint:usetesting // t.TempDir is too long
	require.NoError(t, err)
	b := &beside{t: t, folder: folder}
	b.args = args(folder, b.socket())
	t.Cleanup(func() {
		b.kill()
		_ = os.RemoveAll(folder)
	})
	b.run()
	return b
}

func (b *beside) socket() string { return filepath.Join(b.folder, "socket") }

// run starts the program and waits until it listens.
func (b *beside) run() {
	b.t.Helper()
	_ = os.Remove(b.socket()) // what a killed one leaves
	b.cmd = exec.Command(b.args[0], b.args[1:]...)
	b.cmd.Stderr = b.t.Output()
	require.NoError(b.t, b.cmd.Start())
	require.Eventually(b.t, func() bool {
		conn, err := new(net.Dialer).DialContext(b.t.Context(), "unix", b.socket())
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 5*time.Millisecond, "%s does not listen", b.args[0])
}

func (b *beside) kill() {
	if b.cmd == nil || b.cmd.ProcessState != nil {
		return
	}
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}

// newSoftTPM runs the real swtpm; it stays the same TPM when it is started again.
func newSoftTPM(t *testing.T) *beside {
	t.Helper()
	swtpm, err := exec.LookPath("swtpm")
	require.NoError(t, err, "the tests of TPMs need swtpm: scripts/apt-install swtpm swtpm")
	return newBeside(t, func(folder, socket string) []string {
		return []string{
			swtpm, "socket", "--tpm2", "--tpmstate", "dir=" + folder,
			"--server", "type=unixio,path=" + socket, "--flags", "not-need-init,startup-clear",
		}
	})
}

// newKMS runs a KMS v2 plugin on k8s.io/kms/pkg/service, with the key in a file.
func newKMS(t *testing.T) (plugin *beside, key []byte) {
	t.Helper()
	key = make([]byte, 32)
	_, _ = rand.Read(key)
	return newBeside(t, func(folder, socket string) []string {
		file := filepath.Join(folder, "key")
		require.NoError(t, os.WriteFile(file, key, 0o600))
		return []string{os.Args[0], "kms", socket, file}
	}), key
}

// kmsPlugin is the program of newKMS.
func kmsPlugin(socket, file string) int {
	key, err := os.ReadFile(file)
	if err != nil {
		return 7
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return 7
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return 7
	}
	fmt.Fprintln(os.Stderr, "plugin ends:", service.NewGRPCService(socket, 10*time.Second, plugin{aead}).ListenAndServe())
	return 7
}

type plugin struct{ aead cipher.AEAD }

func (plugin) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: "key-1"}, nil
}

func (p plugin) Encrypt(_ context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	return &service.EncryptResponse{Ciphertext: p.aead.Seal(nil, nil, data, nil), KeyID: "key-1"}, nil
}

func (p plugin) Decrypt(_ context.Context, _ string, r *service.DecryptRequest) ([]byte, error) {
	data, err := p.aead.Open(nil, nil, r.Ciphertext, nil)
	if err != nil {
		return nil, errors.New("not encrypted here")
	}
	return data, nil
}
