package local

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

const (
	rightPassphrase = "correct horse battery staple, twice over"
	wrongPassphrase = "incorrect horse battery staple, twice over"
)

// sealDays is a cluster whose nodes have key-encryption keys of different kinds: n1 a
// passphrase, n2 a TPM, n3 a KMS plugin. All of them wrap the root key.
type sealDays struct {
	*launcher

	t          *testing.T
	passphrase string // file
	tpm, kms   *beside
	secrets    []secret
	answers    strings.Builder // all that was answered
	pods       int
}

func newSealDays(t *testing.T) *sealDays {
	t.Helper()
	d := &sealDays{launcher: newLauncher(t, 3), t: t, tpm: newSoftTPM(t)}
	var key []byte
	d.kms, key = newKMS(t)
	d.secrets = []secret{secretText("passphrase", rightPassphrase), secretText("wrong passphrase", wrongPassphrase), secretBytes("key of the KMS", key)}
	d.passphrase = d.folder.in("passphrase")
	d.writePassphrase(rightPassphrase)
	phrase, tpm, kms := "passphrase:"+d.passphrase, "tpm:unix:"+d.tpm.socket(), "kms:unix://"+d.kms.socket()
	d.site.seals = func(i int) []string { return [][]string{{phrase, kms}, {phrase, kms, tpm}, {phrase, kms}}[i] }
	require.NoError(t, d.startNodes(t.Context()))
	require.NoError(t, d.initSeed(t.Context()))

	id := d.tpmID(tpm)
	var out string
	var err error
	require.Eventually(t, func() bool {
		out, err = d.keysteward(t, "seal", "add", id)
		return err == nil
	}, patience, 100*time.Millisecond, "%s", late(&out))
	status := d.sealStatus(t)
	require.Len(t, status.Keys, 3)
	for _, k := range status.Keys {
		require.True(t, k.Wraps, k.ID)
	}
	d.site.seals = func(i int) []string { return [][]string{{phrase}, {tpm}, {kms}}[i] }
	return d
}

// tpmID asks on the machine itself what the key in its TPM is called.
func (d *sealDays) tpmID(tpm string) string {
	d.t.Helper()
	var out output
	require.NoError(d.t, runCommand(d.t.Context(), d.spawner, d.binary, []string{"server", "seal-id", "--seal", tpm}, &out, &out), "%s", &out)
	id := strings.TrimSpace(out.String())
	return id
}

func (d *sealDays) writePassphrase(text string) {
	d.t.Helper()
	require.NoError(d.t, os.WriteFile(d.passphrase+".new", []byte(text+"\n"), 0o600))
	require.NoError(d.t, os.Rename(d.passphrase+".new", d.passphrase))
}

// ask asks a node, from 0, as an admin.
func (d *sealDays) ask(i int, method, path string, want int) []byte {
	d.t.Helper()
	status, answer := ask(d.t, method, d.site.apiURL(i)+path, d.site.tokens.Admin, asJSON, nil)
	require.Equal(d.t, want, status, "%s %s on %s: %s", method, path, nodeName(i), answer)
	d.answers.Write(answer)
	return answer
}

// restart kills a node and starts it again with what is its own now.
func (d *sealDays) restart(i int) {
	d.t.Helper()
	p := d.nodes.process(i)
	require.NoError(d.t, p.signal(syscall.SIGKILL))
	<-p.done
	_, err := d.nodes.restart(d.t.Context())
	require.NoError(d.t, err)
}

// awaitReady waits until a node is ready.
func (d *sealDays) awaitReady(i int) {
	d.t.Helper()
	var answer []byte
	require.Eventually(d.t, func() bool {
		var status int
		status, answer = ask(d.t, http.MethodGet, d.site.apiURL(i)+"/readyz", "", asJSON, nil)
		return status == http.StatusOK
	}, patience, 20*time.Millisecond, "%s is not ready: %s", nodeName(i), &answer)
}

// requireSealedFor holds once a node has caught up with the others and says this of
// why it is sealed, in its readiness, in the seal's status and in its log.
func (d *sealDays) requireSealedFor(i int, reason string) {
	d.t.Helper()
	var r wire.Readiness
	require.Eventually(d.t, func() bool {
		status, answer := ask(d.t, http.MethodGet, d.site.apiURL(i)+"/readyz", "", asJSON, nil)
		if status != http.StatusServiceUnavailable || json.Unmarshal(answer, &r) != nil {
			return false
		}
		return sealedOnly(r, reason)
	}, patience, 20*time.Millisecond, "%s: %+v", nodeName(i), &r)
	var s wire.Seal
	require.NoError(d.t, json.Unmarshal(d.ask(i, http.MethodGet, "/v1/seal", http.StatusOK), &s))
	require.True(d.t, s.Sealed)
	require.Contains(d.t, s.Reason, reason)
	_, run, _ := cutLast(readText(d.t, d.site.log(i)), "keysteward runs")
	require.Contains(d.t, run, "sealed: no key-encryption key of this node opens the secrets")
	require.Contains(d.t, run, reason)
}

// leader is the node that leads, from 0, and its term.
func (d *sealDays) leader() (index int, term int64) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		for i, url := range d.site.apiURLs() {
			status, answer := ask(d.t, http.MethodGet, url+"/v1/cluster", d.site.tokens.Viewer, asJSON, nil)
			var c wire.Cluster
			if status == http.StatusOK && json.Unmarshal(answer, &c) == nil && strings.HasPrefix(c.Leader, nodeName(i)+"-") {
				index, term = i, c.Term
				return true
			}
		}
		return false
	}, patience, 20*time.Millisecond, "nobody leads")
	return index, term
}

// requireServes holds if pods get keys.
func (d *sealDays) requireServes() {
	d.t.Helper()
	d.pods++
	pod := "pod-" + strconv.Itoa(d.pods)
	out, err := d.keysteward(d.t, "allocate", "--pod", pod, "--keys", "1", "--out", d.folder.in("pods", pod), "--layout", "teku")
	require.NoError(d.t, err, out)
}

// TestBadDaysOfKeyEncryptionKeys: a wrong passphrase, no TPM, a KMS plugin that is
// down, hung, or comes late. Whoever leads goes on, the others vote, each says why,
// and is mended without a restart.
func TestBadDaysOfKeyEncryptionKeys(t *testing.T) {
	t.Parallel()
	d := newSealDays(t)
	d.restart(2)
	d.awaitReady(2)

	d.writePassphrase(wrongPassphrase)
	d.restart(0)
	d.tpm.kill()
	d.restart(1)
	d.requireSealedFor(0, "wrapped by other key-encryption keys")
	d.requireSealedFor(1, d.tpm.socket())
	require.Eventually(t, func() bool { leader, _ := d.leader(); return leader == 2 }, patience, 20*time.Millisecond,
		"a sealed node keeps the lead")
	d.requireServes()

	d.requireKMSMayFail(2)
	pids := []int{d.nodes.process(0).pid(), d.nodes.process(1).pid()}
	d.writePassphrase(rightPassphrase)
	d.tpm.run()
	d.awaitReady(0)
	d.awaitReady(1)
	require.Equal(t, pids[0], d.nodes.process(0).pid())
	require.Equal(t, pids[1], d.nodes.process(1).pid())
	require.Contains(t, readText(t, d.site.log(0)), "unsealed: the key-encryption keys can be used again")

	d.requireTPMMayDie(1)
	d.requireKMSMayComeLate(2)
	d.requireNothingSecret()
}

// requireKMSMayFail: the node that leads goes on without its plugin; only what needs
// the key itself is refused, soon and with the reason.
func (d *sealDays) requireKMSMayFail(leader int) {
	d.t.Helper()
	refused := func(reason string) {
		began := time.Now()
		var p wire.Problem
		require.NoError(d.t, json.Unmarshal(d.ask(leader, http.MethodPost, "/v1/seal/rotate", http.StatusServiceUnavailable), &p))
		require.Equal(d.t, "sealed", p.Type)
		require.Contains(d.t, p.Detail, reason)
		require.Contains(d.t, p.Detail, d.kms.socket())
		require.Less(d.t, time.Since(began), 20*time.Second)
	}
	d.kms.kill()
	refused("connect")
	d.awaitReady(leader)
	d.requireServes()
	d.kms.run()
	require.NoError(d.t, d.kms.cmd.Process.Signal(syscall.SIGSTOP))
	refused("no answer within")
	d.awaitReady(leader)
	d.requireServes()
	require.NoError(d.t, d.kms.cmd.Process.Signal(syscall.SIGCONT))
	d.ask(leader, http.MethodPost, "/v1/seal/rotate", http.StatusNoContent)
}

// requireTPMMayDie: a node that runs goes on without its TPM, and says so when asked.
func (d *sealDays) requireTPMMayDie(i int) {
	d.t.Helper()
	opens := func() wire.SealVerified {
		var v wire.SealVerification
		require.NoError(d.t, json.Unmarshal(d.ask(i, http.MethodPost, "/v1/seal/verify", http.StatusOK), &v))
		require.Len(d.t, v.Keys, 1)
		return v.Keys[0]
	}
	require.True(d.t, opens().Ok)
	d.tpm.kill()
	v := opens()
	require.False(d.t, v.Ok)
	require.Contains(d.t, v.Detail, d.tpm.socket())
	d.awaitReady(i)
	d.requireServes()
	d.tpm.run()
	require.True(d.t, opens().Ok)
}

// requireKMSMayComeLate: a node that starts before its plugin is sealed and votes, and
// unseals itself when the plugin comes.
func (d *sealDays) requireKMSMayComeLate(i int) {
	d.t.Helper()
	d.kms.kill()
	d.restart(i)
	d.requireSealedFor(i, d.kms.socket())
	leader, term := d.leader()
	require.NotEqual(d.t, i, leader)
	d.requireServes()
	d.kms.run()
	d.awaitReady(i)
	still, same := d.leader()
	require.Equal(d.t, leader, still)
	require.Equal(d.t, term, same)
}

// requireNothingSecret searches answers, logs and data folders for the keys.
func (d *sealDays) requireNothingSecret() {
	d.t.Helper()
	searched := map[string][]byte{"answers": []byte(d.answers.String())}
	for i := range 3 {
		require.NoError(d.t, filepath.WalkDir(d.folder.in(nodeName(i)), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			searched[path], err = os.ReadFile(path) //nolint:gosec // nobody else is in a test's folder
			return err
		}))
	}
	require.NotEmpty(d.t, searched[d.site.log(0)])
	for place, content := range searched {
		for _, s := range d.secrets {
			require.False(d.t, s.foundIn(content), "the %s is in %s", s.name, place)
		}
	}
}

// sealedOnly is true for a node that is not ready because it is sealed, with this in the
// reason, and for nothing else.
func sealedOnly(r wire.Readiness, reason string) bool {
	isSealed := false
	for _, c := range r.Checks {
		switch {
		case c.Name == "unsealed":
			isSealed = !c.Ok && strings.Contains(c.Detail, reason)
		case c.Name == "key-encryption-keys": // says the same of a restart
		case !c.Ok:
			return false
		}
	}
	return isSealed
}
