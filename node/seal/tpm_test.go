package seal

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"
)

func identityOf(t *testing.T, kek KEK) Identity {
	t.Helper()
	identity, err := kek.Identify(t.Context(), testCluster)
	require.NoError(t, err)
	return identity
}

// A root key is wrapped for another machine from the public part of its TPM, and
// only that TPM unwraps it, also after it was switched off.
func TestWrapForAnotherTPM(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	socket := filepath.Join(folder, "tpm")
	process := softTPM(t, folder, socket)
	kek := parsed(t, "tpm:unix:"+socket)
	identity := identityOf(t, kek)
	wrapped, err := WrapFor(identity, []byte("root"), []byte("place"))
	require.NoError(t, err)

	other, _ := newSoftTPM(t)
	require.NotEqual(t, identity.ID, identityOf(t, other).ID)
	_, err = other.Unwrap(t.Context(), testCluster, wrapped, []byte("place"))
	require.ErrorIs(t, err, ErrOpen, "another TPM")

	process.kill()
	_, err = kek.Unwrap(t.Context(), testCluster, wrapped, []byte("place"))
	require.ErrorIs(t, err, ErrKEK, "no TPM")
	require.NotErrorIs(t, err, ErrOpen)

	_ = os.Remove(socket)
	softTPM(t, folder, socket) // the machine was started anew
	require.Equal(t, identity, identityOf(t, kek))
	plain, err := kek.Unwrap(t.Context(), testCluster, wrapped, []byte("place"))
	require.NoError(t, err)
	require.Equal(t, "root", string(plain))
}

// The public part comes from another node: only one of our template, on the curve,
// and with the ID that was approved is taken.
func TestPublicPartsThatAreRefused(t *testing.T) {
	t.Parallel()
	point := func() *ecdh.PublicKey {
		key, err := ecdh.P256().GenerateKey(rand.Reader)
		require.NoError(t, err)
		return key.PublicKey()
	}
	good := tpmIdentity(point())
	_, err := WrapFor(good, []byte("root"), nil)
	require.NoError(t, err)
	spoilt := func(change func([]byte) []byte) Identity {
		return Identity{ID: good.ID, Public: change(bytes.Clone(good.Public))}
	}
	// The same public area but for one thing, with an ID that fits: a forger can compute that.
	forged := func(change func(*tpm2.TPMTPublic)) Identity {
		b := point().Bytes()
		public := tpmPublic(b[1:1+coordinate], b[1+coordinate:])
		change(&public)
		id, err := tpm2.ObjectName(&public)
		require.NoError(t, err)
		return Identity{ID: "tpm:" + hex.EncodeToString(id.Buffer[2:]), Public: tpm2.Marshal(public)}
	}
	for name, change := range map[string]func(*tpm2.TPMTPublic){
		"exportable": func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false },
		"no ECC":     func(p *tpm2.TPMTPublic) { *p = tpm2.RSASRKTemplate },
		"long":       func(p *tpm2.TPMTPublic) { *p = tpmPublic(make([]byte, 48), make([]byte, 48)) },
		"no point":   func(p *tpm2.TPMTPublic) { *p = tpmTemplate() },
	} {
		public := tpmPublic(good.Public[len(good.Public)-66:][:coordinate], good.Public[len(good.Public)-coordinate:])
		_, err := pointOf(&public)
		require.NoError(t, err)
		change(&public)
		_, err = pointOf(&public)
		require.Error(t, err, "a TPM answers with another key: %s", name)
	}
	for name, to := range map[string]Identity{
		"none":           {ID: good.ID},
		"other ID":       {ID: tpmIdentity(point()).ID, Public: good.Public},
		"other kind":     {ID: "file:0123456789abcdef", Public: good.Public},
		"cut":            spoilt(func(b []byte) []byte { return b[:len(b)-1] }),
		"extended":       spoilt(func(b []byte) []byte { return append(b, 0) }),
		"not on curve":   spoilt(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		"no point":       spoilt(func(b []byte) []byte { clear(b[len(b)-coordinate:]); return b }),
		"exportable":     forged(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false }),
		"brought along":  forged(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false }),
		"signs too":      forged(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = true }),
		"another's lock": forged(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = make([]byte, 32) }),
		"weak name":      forged(func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA1 }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := WrapFor(to, []byte("root"), nil)
			require.ErrorIs(t, err, ErrKEK)
		})
	}
}

// The ID is the name that the TPM itself gives the key, so other tools can tell it too.
func TestTheIDIsTheTPMsName(t *testing.T) {
	t.Parallel()
	kek, _ := newSoftTPM(t)
	var name []byte
	require.NoError(t, kek.(tpmKEK).with(t.Context(), func(key *loadedKey) error { //nolint:forcetypeassert // it is
		name = bytes.Clone(key.name.Buffer)
		return nil
	}))
	require.Equal(t, identityOf(t, kek).ID, "tpm:"+hex.EncodeToString(name[2:]))
}

// Missing, stopped, hung or speaking something else: a clear error in time.
func TestTPMsThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	kek, process := newSoftTPM(t)
	identity := identityOf(t, kek)
	wrapped, err := WrapFor(identity, []byte("root"), nil)
	require.NoError(t, err)

	process.signal(syscall.SIGSTOP)
	hung := kek.(tpmKEK) //nolint:forcetypeassert // it is
	hung.timeout = 50 * time.Millisecond
	_, err = hung.Unwrap(t.Context(), testCluster, wrapped, nil)
	require.ErrorIs(t, err, ErrKEK)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = kek.Unwrap(ctx, testCluster, wrapped, nil)
	require.ErrorIs(t, err, context.Canceled, "the caller gave up")
	process.signal(syscall.SIGCONT)
	_, err = kek.Unwrap(t.Context(), testCluster, wrapped, nil)
	require.NoError(t, err, "it answers again")

	missing := filepath.Join(t.TempDir(), "none")
	for name, device := range map[string]string{"device": missing, "socket": "unix:" + missing} {
		_, err = parsed(t, "tpm:"+device).Identify(t.Context(), testCluster)
		require.ErrorIs(t, err, ErrKEK, name)
		require.ErrorIs(t, err, os.ErrNotExist, name)
	}
	require.ErrorIs(t, parsed(t, "tpm:"+kekFile(t, "x", 0o600)).Check(t.Context()), ErrKEK, "a file")
	require.ErrorIs(t, parsed(t, "tpm:/dev/null").Check(t.Context()), ErrKEK, "another device")
	require.ErrorIs(t, parsed(t, "tpm:unix:"+startPlugin(t).socket()).Check(t.Context()), ErrKEK, "another service")
}

// Many uses leave nothing behind in the TPM, which has room for three keys.
func TestNothingIsLeftInTheTPM(t *testing.T) {
	t.Parallel()
	kek, _ := newSoftTPM(t)
	wrapped, err := kek.Wrap(t.Context(), testCluster, []byte("root"), nil)
	require.NoError(t, err)
	for range 10 {
		_, err = kek.Unwrap(t.Context(), testCluster, wrapped, nil)
		require.NoError(t, err)
		_, err = kek.Unwrap(t.Context(), testCluster, wrapped, []byte("elsewhere"))
		require.ErrorIs(t, err, ErrOpen)
	}
	require.NoError(t, kek.(tpmKEK).with(t.Context(), func(key *loadedKey) error { //nolint:forcetypeassert // it is
		for _, class := range []uint32{uint32(tpm2.TPMHTTransient) << 24, uint32(tpm2.TPMHTHMACSession) << 24} {
			loaded, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: class, PropertyCount: 10}.Execute(key.tpm)
			require.NoError(t, err)
			handles, err := loaded.CapabilityData.Data.Handles()
			require.NoError(t, err)
			own := 0
			if class == uint32(tpm2.TPMHTTransient)<<24 {
				own = 1
			}
			require.Len(t, handles.Handle, own)
		}
		return nil
	}))
}

// An owner hierarchy with a password can not be used, and the error says so.
func TestTPMWithAnOwnersPassword(t *testing.T) {
	t.Parallel()
	kek, _ := newSoftTPM(t)
	require.NoError(t, kek.(tpmKEK).with(t.Context(), func(key *loadedKey) error { //nolint:forcetypeassert // it is
		_, err := tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHOwner, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")}}.Execute(key.tpm)
		return err
	}))
	_, err := kek.Identify(t.Context(), testCluster)
	require.ErrorIs(t, err, ErrKEK)
	require.ErrorContains(t, err, "owner hierarchy has a password")
}

func FuzzPublicPart(f *testing.F) {
	good := tpmIdentity(basePoint())
	f.Add(good.ID, good.Public)
	f.Add("tpm:", []byte{})
	f.Fuzz(func(t *testing.T, id string, public []byte) {
		to := Identity{ID: id, Public: public}
		if point, err := tpmPointOf(to); err == nil {
			require.Equal(t, tpmIdentity(point), to)
		}
	})
}
