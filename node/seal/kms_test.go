package seal

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A plugin that is killed, paused and started anew while we use it.
func TestPluginsBadDays(t *testing.T) {
	t.Parallel()
	plugin := startPlugin(t)
	kek := plugin.kek()
	wrapped, err := kek.Wrap(t.Context(), testCluster, []byte("root"), []byte("place"))
	require.NoError(t, err)
	unwraps := func(after string) {
		t.Helper()
		plain, err := kek.Unwrap(t.Context(), testCluster, wrapped, []byte("place"))
		require.NoError(t, err, after)
		require.Equal(t, "root", string(plain))
	}
	refuses := func(kek KEK, when string) error {
		t.Helper()
		require.ErrorIs(t, kek.Check(t.Context()), ErrKEK, when)
		_, err := kek.Wrap(t.Context(), testCluster, []byte("root"), nil)
		require.ErrorIs(t, err, ErrKEK, when)
		_, err = kek.Unwrap(t.Context(), testCluster, wrapped, []byte("place"))
		require.ErrorIs(t, err, ErrKEK, when)
		require.NotErrorIs(t, err, ErrOpen, when)
		return err
	}

	plugin.kill()
	require.ErrorContains(t, refuses(kek, "killed"), "Unavailable")
	plugin.run()
	unwraps("a restart")

	plugin.signal(syscall.SIGSTOP)
	hung := kek.(kmsKEK) //nolint:forcetypeassert // it is
	hung.timeout = 100 * time.Millisecond
	begun := time.Now()
	err = refuses(hung, "paused")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "no answer within 100ms")
	require.Less(t, time.Since(begun), 5*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = kek.Unwrap(ctx, testCluster, wrapped, []byte("place"))
	require.ErrorIs(t, err, context.Canceled, "the caller gave up")
	plugin.signal(syscall.SIGCONT)
	unwraps("a pause")

	require.ErrorIs(t, parsed(t, "kms:unix://"+filepath.Join(plugin.folder, "other")).Check(t.Context()), ErrKEK, "no socket")
	tpm, _ := newSoftTPM(t)
	wrong := parsed(t, "kms:"+tpm.(tpmKEK).device[:5]+"//"+tpm.(tpmKEK).device[5:]).(kmsKEK) //nolint:forcetypeassert // it is
	wrong.timeout = 200 * time.Millisecond
	require.ErrorIs(t, wrong.Check(t.Context()), ErrKEK, "another service behind the socket")
}

// The provider rotates its key behind our ID: the version tells, what was wrapped
// before opens, and what is wrapped now does too.
func TestKeyRotatedBehindTheID(t *testing.T) {
	t.Parallel()
	plugin := startPlugin(t)
	kek := plugin.kek()
	before := identityOf(t, kek)
	require.Equal(t, "key-1", before.Version)
	old, err := kek.Wrap(t.Context(), testCluster, []byte("root"), nil)
	require.NoError(t, err)
	plugin.set(func(s *pluginState) { s.Current, s.KeyID, s.Keys["two"] = "two", "key-2", randomKey() })
	after := identityOf(t, kek)
	require.Equal(t, Identity{ID: before.ID, Version: "key-2"}, after)
	fresh, err := kek.Wrap(t.Context(), testCluster, []byte("root"), nil)
	require.NoError(t, err)
	for _, wrapped := range [][]byte{old, fresh} {
		_, err = kek.Unwrap(t.Context(), testCluster, wrapped, nil)
		require.NoError(t, err)
	}
	plugin.set(func(s *pluginState) { delete(s.Keys, "one") }) // and destroys the old one
	_, err = kek.Unwrap(t.Context(), testCluster, old, nil)
	require.ErrorIs(t, err, ErrKEK)
	require.ErrorContains(t, err, "no such key")
}

// What a plugin must not answer is an error that says so, and nothing of it is kept.
func TestAnswersAgainstTheProtocol(t *testing.T) {
	t.Parallel()
	plugin := startPlugin(t)
	kek := plugin.kek()
	wrapped, err := kek.Wrap(t.Context(), testCluster, []byte("root"), nil)
	require.NoError(t, err)
	good := plugin.state
	for name, c := range map[string]struct {
		change func(*pluginState)
		want   string
	}{
		"unhealthy":       {func(s *pluginState) { s.Healthz = "vault is sealed" }, `not well: "vault is sealed"`},
		"no health":       {func(s *pluginState) { s.Healthz = "" }, "not well"},
		"old version":     {func(s *pluginState) { s.Version = "v1beta1" }, `version "v1beta1", want v2`},
		"no key ID":       {func(s *pluginState) { s.KeyID = "" }, "key ID of 0 bytes"},
		"long key ID":     {func(s *pluginState) { s.KeyID = strings.Repeat("k", kmsMaxKeyID+1) }, "key ID of 1025 bytes"},
		"status refused":  {func(s *pluginState) { s.Fault = "status" }, "no status today"},
		"encrypt refused": {func(s *pluginState) { s.Fault = "encrypt" }, "encryption is switched off"},
		"no ciphertext":   {func(s *pluginState) { s.Fault = "no ciphertext" }, "ciphertext of 0 bytes"},
		"long ciphertext": {func(s *pluginState) { s.Fault = "long ciphertext" }, "ciphertext of 1025 bytes"},
		"empty key ID":    {func(s *pluginState) { s.Fault = "no key ID" }, "key ID of 0 bytes"},
		"endless key ID":  {func(s *pluginState) { s.Fault = "long key ID" }, "key ID of 1025 bytes"},
		"bad annotation":  {func(s *pluginState) { s.Fault = "annotation's name" }, "fully qualified"},
		"annotations":     {func(s *pluginState) { s.Fault = "long annotations" }, "annotations of"},
		"endless answer":  {func(s *pluginState) { s.Fault = "endless annotations" }, "larger than max"},
		"forgets":         {func(s *pluginState) { s.Fault = "forgets" }, "does not give back"},
		"short key":       {func(s *pluginState) { s.Fault = "short key" }, "key of 31 bytes"},
	} {
		plugin.set(func(s *pluginState) { *s = good; c.change(s) })
		_, err := kek.Wrap(t.Context(), testCluster, []byte("root"), nil)
		require.ErrorIs(t, err, ErrKEK, name)
		require.ErrorContains(t, err, c.want, name)
		require.Less(t, len(err.Error()), 500, name)
	}
	plugin.set(func(s *pluginState) { *s = good; s.Version = "v2beta1" })
	require.NoError(t, kek.Check(t.Context()))
	plugin.set(func(s *pluginState) { *s = good; s.Fault = "other key" }) // an answer that was altered
	_, err = kek.Unwrap(t.Context(), testCluster, wrapped, nil)
	require.ErrorIs(t, err, ErrOpen)
	plugin.set(func(s *pluginState) { *s = good })
	_, err = kek.Unwrap(t.Context(), testCluster, wrapped, nil)
	require.NoError(t, err)
}

// Nodes agree on the ID by the endpoint, or by a name where their endpoints differ.
func TestNamesOfPlugins(t *testing.T) {
	t.Parallel()
	id := func(description string) string {
		t.Helper()
		return parsed(t, description).(kmsKEK).id() //nolint:forcetypeassert // it is
	}
	require.Equal(t, "kms:1a44e13f75718890", id("kms:unix:///run/kms.sock"), "pinned: a keyring names it")
	require.NotEqual(t, id("kms:unix:///run/kms.sock"), id("kms:unix:///run/other.sock"))
	require.Equal(t, id("kms:vault@unix:///run/kms.sock"), id("kms:vault@unix:///srv/other.sock"))
	require.NotEqual(t, id("kms:vault@unix:///run/kms.sock"), id("kms:aws@unix:///run/kms.sock"))
	kek := parsed(t, "kms:a@b@unix:///@abstract").(kmsKEK) //nolint:forcetypeassert // it is
	require.Equal(t, "@abstract", kek.socket)
	require.Equal(t, "a@b", kek.name)
}

// What accepts connections and says nothing, or garbage, is no plugin.
func TestListenersThatAreNoPlugin(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{"silent": "", "garbage": "HTTP/1.1 200 OK\r\n\r\nhello"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
			require.NoError(t, err)
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Write([]byte(words))
					defer conn.Close()
				}
			}()
			t.Cleanup(func() { _ = listener.Close(); <-served })
			kek := parsed(t, "kms:unix://"+listener.Addr().String()).(kmsKEK) //nolint:forcetypeassert // it is
			kek.timeout = 100 * time.Millisecond
			require.ErrorIs(t, kek.Check(t.Context()), ErrKEK)
		})
	}
}

func TestFullyQualifiedNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"a.b": true, "version.encryption.remote.io": true, "a.b.": true, "1.2": true, strings.Repeat("a", 63) + ".b": true,
		"": false, ".": false, "a": false, "a.": false, ".a.b": false, "a..b": false, "A.b": false, "a_b.c": false, "-a.b": false, "a-.b": false,
		"a.b..": false, strings.Repeat("a", 64) + ".b": false, strings.Repeat("a.", 127) + "b": false, "a.b\n": false,
	} {
		require.Equal(t, want, isFQDN(name), "%q", name)
	}
}

// Whatever decodes holds to the bounds of the protocol.
func FuzzEnvelope(f *testing.F) {
	good, err := kmsEnvelope{Version: 1, Ciphertext: []byte{1}, KeyID: "k", Annotations: map[string][]byte{"a.b": {1}}, Sealed: []byte{2}}.encode()
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEnvelope(b)
		if err != nil {
			require.ErrorIs(t, err, ErrOpen)
			return
		}
		require.NoError(t, checkEncrypted(e.Ciphertext, e.KeyID, e.Annotations))
		encoded, err := e.encode()
		require.NoError(t, err)
		_, err = decodeEnvelope(encoded)
		require.NoError(t, err)
	})
}
