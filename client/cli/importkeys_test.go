package cli

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// foreignKey is a key that the fake cluster does not derive.
func foreignKey(t *testing.T, n byte) *validator.SecretKey {
	t.Helper()
	raw := make([]byte, 32)
	raw[1], raw[31] = 9, n
	key, err := validator.SecretKeyFromBytes(raw)
	require.NoError(t, err)
	return key
}

// encrypted is a keystore of the key with the password "correct horse".
func encrypted(t *testing.T, key *validator.SecretKey) []byte {
	t.Helper()
	password, err := keystore.NewPassword([]byte("correct horse"))
	require.NoError(t, err)
	one, err := keystore.Encrypt(key, password, keystore.PBKDF2, "", rand.Reader)
	require.NoError(t, err)
	text, err := json.Marshal(one)
	require.NoError(t, err)
	return text
}

type folder struct {
	*testing.T
	path string
}

func newFolder(t *testing.T) folder { t.Helper(); return folder{t, t.TempDir()} }

func (f folder) put(name string, text []byte) {
	f.Helper()
	path := filepath.Join(f.path, name)
	require.NoError(f, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(f, os.WriteFile(path, text, 0o600))
}

func passwordFile(t *testing.T) string { t.Helper(); return writeFile(t, "correct horse\n") }

// report runs keys import with JSON output.
func (s shell) report(t *testing.T, args ...string) (importReport, said) {
	t.Helper()
	got := s.run(t, append([]string{"keys", "import", "-o", "json"}, args...)...)
	var report importReport
	require.NoError(t, json.Unmarshal([]byte(got.out), &report), got.err)
	return report, got
}

// results are the report's rows as "file result".
func (r importReport) results(folder string) []string {
	var list []string
	for _, row := range r.Keys {
		name, _ := filepath.Rel(folder, row.File)
		list = append(list, name+": "+row.Result)
	}
	slices.Sort(list)
	return list
}

func TestKeysImport(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	sh := at(cluster)
	dir := newFolder(t)
	own, known := cluster.Key(0), foreignKey(t, 9)
	cluster.Import(wire.Key{Pubkey: own.PublicKey().String(), State: wire.KeyStateHeld})
	cluster.Import(wire.Key{Pubkey: known.PublicKey().String(), State: wire.KeyStateFree, Imported: true})
	a, b := foreignKey(t, 1), foreignKey(t, 2)
	var lie map[string]any
	require.NoError(t, json.Unmarshal(encrypted(t, b), &lie))
	lie["pubkey"] = a.PublicKey().String()
	liar, err := json.Marshal(lie)
	require.NoError(t, err)
	dir.put("a.json", encrypted(t, a))
	dir.put("deeper/a-again.json", encrypted(t, a))
	dir.put("own.json", encrypted(t, own))
	dir.put("known.json", encrypted(t, known))
	dir.put("liar.json", liar)
	dir.put("cut.json", []byte(`{"crypto`))
	dir.put("deposit_data.json", []byte(`[]`))
	want := []string{
		"a.json: would be imported", "cut.json: refused", "deeper/a-again.json: duplicate", "deposit_data.json: skipped",
		"known.json: known", "liar.json: refused", "own.json: own key",
	}
	before := len(cluster.Imported())

	report, got := sh.report(t, dir.path, "--password-file", passwordFile(t), "--dry-run")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "refused: 2 of 7")
	require.Equal(t, want, report.results(dir.path))
	require.Len(t, cluster.Imported(), before, "a dry run brings nothing")

	report, got = sh.report(t, dir.path, "--password-file", passwordFile(t))
	require.Equal(t, ExitFailure, got.code, "what was refused is told, the others are brought")
	want[0] = "a.json: imported"
	require.Equal(t, want, report.results(dir.path))
	require.Equal(t, map[string]int{"imported": 1, "known": 1, "own key": 1, "duplicate": 1, "refused": 2, "skipped": 1}, report.Counts)
	require.Len(t, cluster.Imported(), before+1)
	require.Equal(t, a.PublicKey().String(), cluster.Imported()[before].Pubkey)
	require.Contains(t, got.err, "keystores decrypted: 5 of 5")
	require.Contains(t, got.err, "keys imported: 1 of 1")
	for _, row := range report.Keys {
		if strings.Contains(row.File, "liar") {
			require.Contains(t, row.Reason, "does not belong to the public key")
		}
	}

	report, _ = sh.report(t, dir.path, "--password-file", passwordFile(t))
	want[0] = "a.json: known"
	require.Equal(t, want, report.results(dir.path), "a repeat is safe")
	require.Len(t, cluster.Imported(), before+1)
}

func TestKeysImportWithPasswordsBeside(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	dir := newFolder(t)
	key := foreignKey(t, 1)
	name := key.PublicKey().String()
	dir.put("validators/"+name+"/voting-keystore.json", encrypted(t, key))
	dir.put("secrets/"+name, []byte("correct horse"))
	got := at(cluster).run(t, "keys", "import", dir.path)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, name)
	require.Contains(t, got.out, "in all: imported 1")
	require.Contains(t, got.out, "keys confirm-stopped")
	require.NotContains(t, got.out+got.err, "correct horse")

	dir.put("validators/"+foreignKey(t, 2).PublicKey().String()+"/voting-keystore.json", encrypted(t, foreignKey(t, 2)))
	got = at(cluster).run(t, "keys", "import", dir.path, "--quiet")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.out, "no password file lies beside")
	require.NotContains(t, got.err, "decrypted")
}

func TestKeysImportIsRefusedBeforeItDecrypts(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	dir.put("a.json", encrypted(t, foreignKey(t, 1)))
	empty := newFolder(t)
	denied := clienttest.Start(t, 1)
	denied.Intercept = refuse(http.StatusForbidden, "forbidden", "the role viewer may not do this")
	for name, c := range map[string]struct {
		sh   shell
		args []string
		code int
		text string
	}{
		"no folder":      {at(denied), nil, ExitUsage, "needs a folder"},
		"no such folder": {at(denied), []string{"/does/not/exist"}, ExitFailure, "no such file"},
		"empty folder":   {at(denied), []string{empty.path}, ExitFailure, "there is no keystore"},
		"no server":      {shell{}, []string{dir.path}, ExitUsage, "--server"},
		"wrong output":   {at(denied), []string{dir.path, "-o", "xml"}, ExitUsage, "--output"},
		"no password":    {at(denied), []string{dir.path, "--password-file", "/does/not/exist"}, ExitFailure, "--password-file"},
		"empty password": {at(denied), []string{dir.path, "--password-file", writeFile(t, "\n")}, ExitFailure, "empty"},
		"wrong role":     {at(denied), []string{dir.path, "--password-file", passwordFile(t)}, ExitFailure, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := c.sh.run(t, append([]string{"keys", "import"}, c.args...)...)
			require.Equal(t, c.code, got.code, got.err)
			require.Contains(t, got.err, c.text)
			require.NotContains(t, got.err, "decrypted")
			require.Empty(t, got.out)
		})
	}
}

func TestKeysImportThatBreaksOff(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		clienttest.Problem(w, http.StatusServiceUnavailable, "outcome-unknown", "who knows")
		return true
	}
	dir := newFolder(t)
	dir.put("a.json", encrypted(t, foreignKey(t, 1)))
	report, got := at(cluster).report(t, dir.path, "--password-file", passwordFile(t), "--timeout", "1s")
	require.Equal(t, ExitUnknown, got.code, got.err)
	require.Equal(t, []string{"a.json: not known"}, report.results(dir.path))
}

func TestKeysConfirmStopped(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.PageSize = 7
	sh := at(cluster)
	dir := newFolder(t)
	for i := range byte(3) {
		dir.put(string(rune('a'+i))+".json", encrypted(t, foreignKey(t, i)))
	}
	require.Zero(t, sh.run(t, "keys", "import", dir.path, "--password-file", passwordFile(t)).code)
	held := foreignKey(t, 50).PublicKey().String()
	cluster.Import(wire.Key{Pubkey: held, State: wire.KeyStateResting, Imported: true, Fence: 99, Holder: wire.Pod{Namespace: "default", Pod: "web-0", PodUID: "u"}})
	derived := foreignKey(t, 51).PublicKey().String()
	cluster.Import(wire.Key{Pubkey: derived, State: wire.KeyStateResting, Fence: 98})
	states := func() string {
		var list []string
		for _, k := range cluster.Imported() {
			list = append(list, string(k.State))
		}
		return strings.Join(list, " ")
	}
	first := cluster.Imported()[0].Pubkey
	require.Contains(t, sh.run(t, "keys", "show", first).out, "an operator confirms")

	for name, c := range map[string]struct {
		args []string
		code int
		text string
	}{
		"nothing":     {nil, ExitUsage, "--all-imported"},
		"both":        {[]string{first, "--all-imported"}, ExitUsage, "--all-imported"},
		"no key":      {[]string{"0x12"}, ExitUsage, "public key"},
		"derived key": {[]string{first, derived}, ExitFailure, "neither imported nor adopted"},
		"of a pod":    {[]string{first, held}, ExitFailure, "default/web-0"},
		"unknown key": {[]string{first, foreignKey(t, 60).PublicKey().String()}, ExitFailure, "no such key"},
	} {
		got := sh.run(t, append([]string{"keys", "confirm-stopped"}, c.args...)...)
		require.Equal(t, c.code, got.code, name)
		require.Contains(t, got.err, c.text, name)
		require.Equal(t, "resting resting resting resting resting", states(), name)
	}

	got := sh.run(t, "keys", "confirm-stopped", first)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "1 key: stopped elsewhere")
	require.Equal(t, "free resting resting resting resting", states())
	got = sh.run(t, "keys", "confirm-stopped", "--all-imported")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "2 keys")
	require.Contains(t, got.err, "keys confirmed: 2 of 2")
	require.Equal(t, "free free free resting resting", states(), "not those of a pod")
	require.Contains(t, sh.run(t, "keys", "confirm-stopped", "--all-imported").out, "nothing to do")

	list := sh.run(t, "keys", "list").out
	require.Regexp(t, first+` +free \(imported\) +- +1 `, list, "an imported key has no index")
}

func TestConfirmStoppedThatFails(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	for i := range byte(40) {
		cluster.Import(wire.Key{Pubkey: foreignKey(t, i).PublicKey().String(), State: wire.KeyStateResting, Imported: true, Fence: 1})
	}
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		clienttest.Problem(w, http.StatusForbidden, "forbidden", "the role viewer may not do this")
		return true
	}
	got := at(cluster).run(t, "keys", "confirm-stopped", "--all-imported")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "confirmed 0 of 40 keys")
	require.Contains(t, got.err, "forbidden")
}
