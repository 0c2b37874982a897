package local

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/stretchr/testify/require"
	"github.com/tyler-smith/go-bip39"

	"github.com/keysteward/keysteward/node/raftlog"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.TrimSpace(string(raw))
}

// secretsOf returns every secret of a cluster, without those of validators.
func secretsOf(t *testing.T, dir string) []secret {
	t.Helper()
	words := readText(t, filepath.Join(dir, "mnemonic"))
	entropy, err := bip39.EntropyFromMnemonic(words)
	require.NoError(t, err)
	list := []secret{
		secretText("mnemonic", words),
		secretBytes("entropy of the mnemonic", entropy),
		secretBytes("seed", bip39.NewSeed(words, "")),
	}
	fields := strings.Fields(words)
	require.Len(t, fields, 24)
	for i := range len(fields) - 2 {
		three := fields[i : i+3]
		list = append(list, secret{"words of the mnemonic", [][]byte{[]byte(strings.Join(three, " ")), []byte(strings.Join(three, `","`))}})
	}
	for _, role := range roles {
		token := readText(t, filepath.Join(dir, "tokens", string(role)))
		raw, err := hex.DecodeString(token[len(token)-64:])
		require.NoError(t, err)
		list = append(list, secretText("token of the "+string(role), token), secretBytes("token of the "+string(role), raw))
	}
	kek, err := hex.DecodeString(readText(t, filepath.Join(dir, "kek")))
	require.NoError(t, err)
	password := readText(t, filepath.Join(dir, "funding", "password"))
	account, err := keystore.DecryptKey([]byte(readText(t, filepath.Join(dir, "funding", "keystore.json"))), password)
	require.NoError(t, err)
	return append(list,
		secretBytes("key-encryption key", kek),
		secretText("password of the funding account", password),
		secretBytes("key of the funding account", crypto.FromECDSA(account.PrivateKey)),
	)
}

// pagesOfNodes are all that can be read of a node but single objects.
var pagesOfNodes = []string{
	"/", "/assignments", "/allocations", "/metrics", "/livez", "/readyz", "/openapi.yaml", "/v1/cluster", "/v1/keys?consistency=stale", "/v1/deposits?consistency=stale",
	"/v1/allocations?consistency=stale", "/v1/seed", "/v1/seal", "/v1/tokens", "/v1/audit?limit=1000", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
}

// readPages is what a node answers an admin, by page and type.
func readPages(t *testing.T, api, token string) map[string][]byte {
	t.Helper()
	pages := map[string][]byte{}
	for _, path := range pagesOfNodes {
		for _, accept := range []string{"text/html", asJSON, "text/plain"} {
			status, answer := ask(t, http.MethodGet, api+path, token, accept, nil)
			require.NotZero(t, status, "%s: %s", path, answer)
			pages[api+path+" as "+accept] = answer
		}
	}
	return pages
}

// requireNoSecrets searches data folders and logs of all nodes, their pages and their
// metrics.
func requireNoSecrets(t *testing.T, l *launched, secrets []secret) {
	t.Helper()
	s := newSearcher(append(secrets, controls("validator-0")...))
	p := places{}
	for i, n := range l.file().Nodes {
		p.addFolder(t, s, filepath.Join(l.dir, nodeName(i)))
		for page, answer := range readPages(t, n.API, l.file().AdminTokenFile) {
			p.add(s, page, answer)
		}
		p.addProcess(t, s, n.PID)
		p.requireControls(t, l.dir, i, n.API, n.PID)
	}
	p.requireNone(t)
}

// controls are things of no secrecy that are in places where secrets are looked for.
func controls(pod string) (list []secret) {
	for name, text := range map[string]string{
		"pod": pod, "metric": "keysteward_http_connections", "log": "keysteward runs", "flag": "--data-dir", "path": "PATH=",
	} {
		list = append(list, secret{"control: " + name, [][]byte{[]byte(text)}})
	}
	return list
}

// requireControls holds if the search of a node's places finds what is known to be there.
func (p places) requireControls(t *testing.T, dir string, i int, api string, pid int) {
	t.Helper()
	in := func(name ...string) string { return filepath.Join(append([]string{dir, nodeName(i)}, name...)...) }
	for place, control := range map[string]string{
		in("audit.jsonl"): "control: pod", in("log"): "control: log",
		api + "/assignments as text/html": "control: pod", api + "/v1/allocations?consistency=stale as " + asJSON: "control: pod",
		api + "/metrics as text/plain":       "control: metric",
		fmt.Sprintf("/proc/%d/cmdline", pid): "control: flag", fmt.Sprintf("/proc/%d/environ", pid): "control: path",
	} {
		p.requireFound(t, control, place)
	}
	p.requireFoundIn(t, "control: pod", in("data", raftlog.Folder))
}
