package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/kms/pkg/service"
)

const pluginVariable = "KEYSTEWARD_TEST_KMS_PLUGIN"

// A test binary that is started with this variable is a KMS plugin.
func init() {
	if folder := os.Getenv(pluginVariable); folder != "" {
		err := service.NewGRPCService(filepath.Join(folder, "socket"), 10*time.Second, plugin{folder}).ListenAndServe()
		fmt.Fprintln(os.Stderr, "plugin ends:", err)
		os.Exit(1)
	}
}

// pluginState is what the test tells a plugin; it is read at each call.
type pluginState struct {
	Version, Healthz, KeyID string
	Current                 string            // name of the key that encrypts
	Keys                    map[string][]byte // by name
	Fault                   string
}

// plugin is a KMS v2 plugin on k8s.io/kms/pkg/service that keeps its keys in a file.
type plugin struct{ folder string }

func (p plugin) state() (s pluginState, err error) {
	b, err := os.ReadFile(filepath.Join(p.folder, "state"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

func (p plugin) Status(context.Context) (*service.StatusResponse, error) {
	s, err := p.state()
	if s.Fault == "status" {
		err = errors.New("no status today")
	}
	return &service.StatusResponse{Version: s.Version, Healthz: s.Healthz, KeyID: s.KeyID}, err
}

func (p plugin) Encrypt(_ context.Context, uid string, data []byte) (*service.EncryptResponse, error) {
	s, err := p.state()
	if err != nil || uid == "" {
		return nil, errors.Join(err, errors.New("encrypt"))
	}
	ciphertext, err := encrypt(s.Keys[s.Current], data, nil)
	r := &service.EncryptResponse{Ciphertext: ciphertext, KeyID: s.KeyID, Annotations: map[string][]byte{"key.example.org": []byte(s.Current)}}
	switch s.Fault {
	case "encrypt":
		err = errors.New("encryption is switched off: " + string(bytes.Repeat([]byte("x"), 5000)))
	case "no ciphertext":
		r.Ciphertext = nil
	case "long ciphertext":
		r.Ciphertext = make([]byte, kmsMaxCiphertext+1)
	case "no key ID":
		r.KeyID = ""
	case "long key ID":
		r.KeyID = string(bytes.Repeat([]byte("k"), kmsMaxKeyID+1))
	case "annotation's name":
		r.Annotations["not a name"] = nil
	case "long annotations":
		r.Annotations["long.example.org"] = make([]byte, kmsMaxAnnotations)
	case "endless annotations":
		r.Annotations["long.example.org"] = make([]byte, 10*kmsMaxAnswer)
	case "forgets":
		r.Ciphertext, err = encrypt(s.Keys[s.Current], make([]byte, KeySize), nil)
	}
	return r, err
}

func (p plugin) Decrypt(_ context.Context, uid string, request *service.DecryptRequest) ([]byte, error) {
	s, err := p.state()
	if err != nil || uid == "" {
		return nil, errors.Join(err, errors.New("decrypt"))
	}
	switch s.Fault {
	case "other key":
		return make([]byte, KeySize), nil
	case "short key":
		return make([]byte, KeySize-1), nil
	}
	key := s.Keys[string(request.Annotations["key.example.org"])]
	if key == nil {
		return nil, errors.New("no such key")
	}
	return decrypt(key, request.Ciphertext, nil)
}

// pluginKit is a running plugin and what a test may do to it.
type pluginKit struct {
	t      testing.TB
	folder string
	state  pluginState
	*process
}

func startPlugin(t testing.TB) *pluginKit {
	t.Helper()
	k := &pluginKit{t: t, folder: shortDir(t), state: pluginState{
		Version: "v2", Healthz: "ok", KeyID: "key-1", Current: "one", Keys: map[string][]byte{"one": randomKey()},
	}}
	k.set(func(*pluginState) {})
	k.run()
	return k
}

func randomKey() []byte {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key)
	return key
}

func (k *pluginKit) run() {
	k.t.Helper()
	_ = os.Remove(k.socket()) // what a killed plugin leaves
	self, err := os.Executable()
	require.NoError(k.t, err)
	cmd := exec.Command(self, "-test.run=^$")
	cmd.Env = append(os.Environ(), pluginVariable+"="+k.folder)
	k.process = start(k.t, k.socket(), cmd)
}

func (k *pluginKit) socket() string { return filepath.Join(k.folder, "socket") }

func (k *pluginKit) kek() KEK { return parsed(k.t, "kms:unix://"+k.socket()) }

// set changes what the plugin does from the next call on.
func (k *pluginKit) set(change func(*pluginState)) {
	k.t.Helper()
	k.state.Keys = maps.Clone(k.state.Keys)
	change(&k.state)
	b, err := json.Marshal(k.state)
	require.NoError(k.t, err)
	require.NoError(k.t, os.WriteFile(filepath.Join(k.folder, "new"), b, 0o600))
	require.NoError(k.t, os.Rename(filepath.Join(k.folder, "new"), filepath.Join(k.folder, "state")))
}
