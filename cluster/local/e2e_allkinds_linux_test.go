package local

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tyler-smith/go-bip39"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// everyKindIsMade founds the cluster and makes secrets of every kind in it.
func (r *searched) everyKindIsMade() {
	t := r.t
	t.Helper()
	passphrase := r.write("passphrase", "passphrase of the cluster", randomText(t))
	next := r.write("next-kek", "next key-encryption key", randomText(t))
	require.NoError(t, r.startNodes(t.Context()))
	for _, port := range r.ports() {
		say(t, port, marker(port))
	}
	r.seedIsBrought()
	r.add(secretsOf(t, r.folder.path)...)
	r.add(secretBytes("next key-encryption key", decodeHex(t, next)))
	require.NotEmpty(t, passphrase)
	r.privateKeysOfTLS()
	r.allocate("searched-0")
	r.allocate("searched-1", "--password-file", r.folder.in("keystore-password"), "--kem", "x25519")
	r.tokenIsMade()
	r.keysAreImported()
	r.cloudsAreMade()
	r.sealIsChanged()
	r.requireSameKubeconfig()
	r.ownRecipient()
}

func randomText(t require.TestingT) string {
	text, err := randomHex()
	require.NoError(t, err)
	return text
}

func decodeHex(t require.TestingT, text string) []byte {
	raw, err := hex.DecodeString(text)
	require.NoError(t, err)
	return raw
}

// write makes a file with a secret text.
func (r *searched) write(file, name, text string) string {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(r.folder.in(file), []byte(text+"\n"), 0o600))
	r.add(secretText(name, text))
	return text
}

// seedIsBrought gives the cluster words from a file, under a passphrase of their own.
func (r *searched) seedIsBrought() {
	t := r.t
	t.Helper()
	words, err := bip39.NewMnemonic(decodeHex(t, randomText(t)))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(r.site.mnemonic(), []byte(words+"\n"), 0o600))
	passphrase := r.write("bip39", "passphrase of the words", randomText(t))
	r.write("keystore-password", "password of keystores", randomText(t))
	seed := bip39.NewSeed(words, passphrase)
	r.add(secretBytes("seed in use", seed))
	r.mustRun("init", "--mnemonic-file", r.site.mnemonic(), "--mnemonic-passphrase-file", r.folder.in("bip39"), "--yes")
	require.NoError(t, r.writeClusterFile(t.Context()))
}

// allocate gets a pod its keys, by way of a follower; it may be repeated.
func (r *searched) allocate(pod string, flags ...string) {
	t := r.t
	t.Helper()
	out := r.folder.in("pods", pod)
	follower := r.site.apiURL((r.leaderIndex() + 1) % 3)
	args := append([]string{"allocate", "--server", follower, "--token-file", r.site.tokens.Operator, "--pod", pod, "--keys", "2", "--out", out, "--layout", "teku"}, r.site.tls.clientArgs()...)
	told, err := r.runArgs(append(args, flags...))
	require.NoError(t, err, told)
	_, keys := readPod(t, out, 2)
	for _, key := range keys {
		r.add(secretBytes("validator key", key))
	}
	require.NoError(t, filepath.WalkDir(out, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".txt") {
			r.add(secretText("password of a keystore", readText(t, path)))
		}
		return err
	}))
}

// keysAreImported brings keystores of other validators; a wrong password first.
func (r *searched) keysAreImported() {
	t := r.t
	t.Helper()
	text := decodeHex(t, randomText(t))
	seed, err := validator.SeedFromBytes(append(text, text...))
	require.NoError(t, err)
	password, err := keystore.NewPassword([]byte(r.write("brought-password", "password of brought keystores", randomText(t))))
	require.NoError(t, err)
	var keys []keystore.Key
	for i := range uint64(2) {
		key, err := seed.SigningKey(i)
		require.NoError(t, err)
		r.add(secretBytes("imported key", key.Bytes()))
		keys = append(keys, keystore.Key{Secret: key, Path: validator.SigningPath(i)})
	}
	brought := r.folder.in("brought")
	_, err = keystore.Write(t.Context(), brought, keystore.Teku, keys, keystore.Options{Password: password})
	require.NoError(t, err)
	r.write("wrong-password", "wrong password", randomText(t))
	out, err := r.run("keys", "import", brought, "--password-file", r.folder.in("wrong-password"))
	require.Error(t, err, out)
	require.Contains(t, r.mustRun("keys", "import", brought), "imported 2")
}

// privateKeysOfTLS are those of authorities and nodes.
func (r *searched) privateKeysOfTLS() {
	t := r.t
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.site.tls.folder, "*", "*.key"))
	require.NoError(t, err)
	more, err := filepath.Glob(filepath.Join(r.site.tls.folder, "nodes", "*", "*.key"))
	require.NoError(t, err)
	require.Len(t, append(files, more...), 2+2*3)
	for _, path := range append(files, more...) {
		text := readText(t, path)
		block, _ := pem.Decode([]byte(text))
		require.NotNil(t, block, path)
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		require.NoError(t, err, path)
		key, ok := parsed.(*ecdsa.PrivateKey)
		require.True(t, ok, path)
		scalar, err := key.Bytes()
		require.NoError(t, err)
		name := "private key " + filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
		// The second line of the text has the most of the private part.
		r.add(secretBytes(name, scalar), secret{name + " as PEM", [][]byte{[]byte(strings.Split(text, "\n")[2])}})
	}
}

// sealIsChanged replaces the key-encryption key and the data key.
func (r *searched) sealIsChanged() {
	t := r.t
	t.Helper()
	var status sealStatus
	require.Eventually(t, func() bool { // every node has told its keys
		status = r.sealStatus(t)
		for _, key := range status.Keys {
			if len(key.Nodes) != 3 || !key.Wraps {
				return false
			}
		}
		return len(status.Keys) == 3
	}, patience, 50*time.Millisecond, "%+v", &status)
	r.mustRun("seal", "verify")
	r.mustRun("seal", "rotate")
	var nodes []struct {
		Keys []wire.SealVerified `json:"keys"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.mustRun("seal", "verify", "-o", "json")), &nodes))
	r.mustRun("seal", "remove", nodes[0].Keys[0].ID) // the first of the flags: what opened everything until now
	require.Eventually(t, func() bool {              // all is sealed again
		status = r.sealStatus(t)
		return len(status.Terms) == 1 && status.Terms[0].Term == status.CurrentTerm
	}, patience, 50*time.Millisecond, "%+v", &status)
}

// ownRecipient asks for keys with an HPKE key pair that is known here.
func (r *searched) ownRecipient() {
	t := r.t
	t.Helper()
	for _, kem := range []wire.RecipientKem{wire.KEMX25519, wire.KEMMLKEM768X25519} {
		private, recipient, err := wire.NewRecipient(kem)
		require.NoError(t, err)
		raw, err := private.Bytes()
		require.NoError(t, err)
		r.add(secretBytes("private key of HPKE", raw))
		c, err := r.site.newClient(r.site.tokens.Operator, r.site.apiURLs()...)
		require.NoError(t, err)
		defer c.Close()
		uid := readText(t, r.folder.in("pods", "searched-0", ".keysteward-pod-uid"))
		a, _, err := c.Allocate(t.Context(), wire.AllocationRequest{
			Namespace: "default", Pod: "searched-0", PodUID: strings.Fields(uid)[0], Keys: 2, Recipient: recipient,
		}, 0)
		require.NoError(t, err)
		plaintext, err := a.Secrets.Open(private, wire.AllocationInfo(a.ClusterID, a.Namespace, a.Pod, a.PodUID))
		require.NoError(t, err)
		r.add(secretBytes("plaintext of HPKE", plaintext[len(plaintext)-60:]))
	}
}

// tokenIsMade makes tokens of the kind that the cluster itself keeps, and has one used.
func (r *searched) tokenIsMade() {
	t := r.t
	t.Helper()
	path := r.folder.in("made-token")
	r.mustRun("tokens", "create", "searcher", "--role", "viewer", "--out", path)
	r.addToken("token of the state", readText(t, path))
	// This one is printed, for its owner, so its output is not searched.
	shown, err := r.keysteward(t, "tokens", "create", "shown", "--role", "viewer", "--quiet")
	require.NoError(t, err, shown)
	r.addToken("token that was shown", strings.TrimSpace(shown))
	out, err := r.runArgs(r.site.clientArgs(path, "keys", "list"))
	require.NoError(t, err, out)
	r.mustRun("tokens", "list")
}

// addToken has a token looked for, and the random part of it.
func (r *searched) addToken(name, token string) {
	r.t.Helper()
	random := decodeHex(r.t, token[len(token)-64:])
	r.add(secretText(name, token), secretBytes(name, random))
}
