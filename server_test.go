package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/cli"
	"github.com/keysteward/keysteward/node/pki"
	"github.com/keysteward/keysteward/node/pki/pkitest"
)

// flagsOf are valid flags for a node without deposits; later ones win.
func flagsOf(t *testing.T, more ...string) (flags []string, dataDir string) {
	t.Helper()
	dir := t.TempDir()
	dataDir = filepath.Join(dir, "data")
	tokens, kek := filepath.Join(dir, "tokens.json"), filepath.Join(dir, "kek")
	require.NoError(t, os.WriteFile(tokens, []byte(`{"tokens":[]}`), 0o600))
	require.NoError(t, os.WriteFile(kek, bytes.Repeat([]byte("ab"), 32), 0o600))
	return append([]string{
		"server", "--name", "n1", "--data-dir", dataDir, "--token-hashes", tokens, "--seal", "file:" + kek,
		"--api-addr", "127.0.0.1:0", "--raft-addr", "127.0.0.1:0", "--peers", "n1=127.0.0.1:1",
	}, more...), dataDir
}

// runServer runs the command with flags that keep it from starting.
func runServer(t *testing.T, flags []string) (code int, stderr string) {
	t.Helper()
	root := cli.New("test")
	root.AddCommand(newServerCommand())
	var out, errs bytes.Buffer
	root.SetArgs(flags)
	root.SetOut(&out)
	root.SetErr(&errs)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return cli.Run(ctx, root), errs.String()
}

func TestServerRefusesFlags(t *testing.T) {
	t.Parallel()
	account := []string{"--funding-keystore", "k", "--funding-password-file", "p"}
	custom := []string{"--execution-rpc", "http://127.0.0.1:1", "--network", "custom", "--bls-withdrawal"}
	signer := slices.Clip([]string{"--execution-rpc", "http://127.0.0.1:1", "--network", "hoodi", "--bls-withdrawal", "--funding-signer", "http://u:geheim@h"})
	for name, c := range map[string]struct {
		flags []string
		says  string
	}{
		"unknown flag":           {[]string{"--nomen", "x"}, "unknown flag: --nomen"},
		"no name":                {[]string{"--name", ""}, "--name is required"},
		"no data folder":         {[]string{"--data-dir", ""}, "--data-dir is required"},
		"key without scheme":     {[]string{"--seal", "/etc/kek"}, "--seal"},
		"api address":            {[]string{"--api-addr", "nonsense"}, `--api-addr "nonsense": want HOST:PORT`},
		"advertised URL":         {[]string{"--advertise-api", "ftp://x"}, `--advertise-api "ftp://x"`},
		"advertised URL's path":  {[]string{"--advertise-api", "http://x/y"}, `--advertise-api "http://x/y"`},
		"amount without chain":   {[]string{"--amount-gwei", "5"}, "--execution-rpc is missing: --amount-gwei"},
		"fee cap":                {[]string{"--execution-rpc", "http://127.0.0.1:1", "--network", "hoodi", "--max-fee-gwei", "0"}, "--max-fee-gwei 0"},
		"half of a certificate":  {[]string{"--tls-cert", "x"}, "--tls-cert and --tls-key go together"},
		"half of raft's files":   {[]string{"--raft-tls-cert", "x", "--raft-tls-ca", "y"}, "--raft-tls-cert, --raft-tls-key and --raft-tls-ca go together"},
		"callers without TLS":    {[]string{"--tls-client-ca", "x"}, "--tls-client-ca needs --tls-cert"},
		"certificate not there":  {[]string{"--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"}, "--tls-cert, --tls-key, --tls-client-ca: certificate files: open /nonexistent"},
		"no connections":         {[]string{"--max-connections", "0"}, "--max-connections 0"},
		"raft beyond loopback":   {[]string{"--raft-addr", "0.0.0.0:1"}, "--raft-addr 0.0.0.0:1"},
		"api beyond loopback":    {[]string{"--api-addr", ":8200"}, "--api-addr :8200"},
		"peers malformed":        {[]string{"--peers", "n1"}, `peer "n1"`},
		"replicas of nobody":     {[]string{"--statefulset", "a/b"}, "--statefulset needs --kubernetes"},
		"statefulset malformed":  {[]string{"--kubernetes", "in-cluster", "--pods", "a/b", "--statefulset", "b"}, `--statefulset "b": want NAMESPACE/NAME`},
		"pod malformed":          {[]string{"--pod", "a/b/c"}, `--pod "a/b/c": want NAMESPACE/NAME`},
		"peers without this one": {[]string{"--name", "n2"}, "--peers does not name this node"},
		"short rest":             {[]string{"--rest-after-proof", "1s"}, "--rest-after-proof 1s"},
		"negative rest":          {[]string{"--rest-after-proof", "-1s"}, "--rest-after-proof -1s"},
		"no keys per pod":        {[]string{"--max-keys-per-pod", "0"}, "--max-keys-per-pod 0"},
		"witness":                {[]string{"--witness", "nobody"}, "--witness"},
		"witness without one":    {[]string{"--witness", "kubernetes"}, "--witness kubernetes needs --kubernetes"},
		"namespaces of nobody":   {[]string{"--allowed-namespaces", "a"}, "--allowed-namespaces needs --kubernetes"},
		"namespaces malformed":   {[]string{"--kubernetes", "in-cluster", "--pods", "a/b", "--allowed-namespaces", "a,b/c"}, `--allowed-namespaces "b/c"`},
		"lease":                  {[]string{"--lease-timeout", "1h"}, "--lease-timeout"},
		"negative drain":         {[]string{"--drain", "-1s"}, "--drain -1s"},
		"free space":             {[]string{"--min-free-disk", "much"}, "want a size such as 256Mi"},
		"negative free space":    {[]string{"--min-free-disk", "-1"}, "want a size such as 256Mi"},
		"log level":              {[]string{"--log-level", "loud"}, `--log-level "loud"`},
		"log format":             {[]string{"--log-format", "xml"}, `--log-format "xml"`},
		"level of requests":      {[]string{"--log-requests", "all"}, `--log-requests "all"`},
		"receiver of traces":     {[]string{"--otlp-endpoint", "grpc://u:geheim@h"}, "--otlp-endpoint: tracing: the endpoint must be an http or https URL"},
		"no tokens":              {[]string{"--token-hashes", "/nonexistent"}, "--token-hashes"},
		"no certificates' roles": {[]string{"--cert-roles", "/nonexistent"}, "--cert-roles"},
		"no kubeconfig":          {[]string{"--kubernetes", "/nonexistent", "--pods", "a/b"}, "--kubernetes: no usable configuration"},
		"in no cluster":          {[]string{"--kubernetes", "in-cluster", "--pods", "a/b"}, "--kubernetes: no usable configuration"},
		"any pod":                {[]string{"--kubernetes", "in-cluster"}, "--kubernetes needs --pods: which pods may ask for keys"},
		"pods of nobody":         {[]string{"--pods", "a/b"}, "--pods needs --kubernetes"},
		"pods malformed":         {[]string{"--kubernetes", "in-cluster", "--pods", "a/b,a*/c"}, `--pods: invalid entry of pods: "a*/c"`},
		"pods' keys":             {[]string{"--kubernetes", "in-cluster", "--pods", "a/b=5", "--max-keys-per-pod", "4"}, "want 1 to 4 keys"},
		"no audience":            {[]string{"--pod-token-audience", ""}, "--pod-token-audience is empty"},
		"rate below zero":        {[]string{"--rate-limit", "-1"}, "--rate-limit -1 is negative"},
		"deposits without chain": {[]string{"--bls-withdrawal"}, "--execution-rpc is missing"},
		"beacon without network": {[]string{"--beacon-api", "http://127.0.0.1:1"}, "--beacon-api needs --network"},
		"beacon API":             {[]string{"--beacon-api", "127.0.0.1:1", "--network", "hoodi"}, "--beacon-api"},
		"beacon on no network":   {[]string{"--beacon-api", "http://127.0.0.1:1", "--network", "ropsten"}, "ropsten"},
		"beacon, custom":         {[]string{"--beacon-api", "http://127.0.0.1:1", "--network", "custom"}, "--chain-id is required"},
		"beacon and amount":      {[]string{"--beacon-api", "http://127.0.0.1:1", "--network", "hoodi", "--amount-gwei", "1"}, "--execution-rpc is missing: --amount-gwei needs it"},
		"spare keys below zero":  {append(slices.Clip(custom), "--chain-id", "1", "--fork-version", "0x01020304", "--deposit-contract", "0x00000000219ab540356cBB839Cbe05303d7705Fa", "--spare-keys", "-1"), "--spare-keys -1"},
		"spares without chain":   {[]string{"--spare-keys", "1"}, "--execution-rpc is missing: --spare-keys"},
		"limit below zero":       {append(slices.Clip(custom), "--chain-id", "1", "--fork-version", "0x01020304", "--deposit-contract", "0x00000000219ab540356cBB839Cbe05303d7705Fa", "--max-deposits-per-day", "-1"), "--max-deposits-per-day -1"},
		"word without chain":     {[]string{"--seed-unused-before-start-block"}, "--execution-rpc is missing: --seed-unused-before-start-block"},
		"word without block":     {append(slices.Clip(custom), "--chain-id", "5", "--fork-version", "0x00000000", "--deposit-contract", "0x4242424242424242424242424242424242424242", "--seed-unused-before-start-block"), "goes with a --deposit-start-block above 0"},
		"limit without chain":    {[]string{"--max-deposits-per-day", "1"}, "--execution-rpc is missing: --max-deposits-per-day"},
		"neither on nor off":     {[]string{"--deposits", "maybe"}, `--deposits "maybe": want on or off`},
		"unknown network":        {[]string{"--execution-rpc", "http://127.0.0.1:1", "--network", "ropsten"}, "ropsten"},
		"chain ID of mainnet":    {[]string{"--execution-rpc", "http://127.0.0.1:1", "--network", "mainnet", "--chain-id", "1"}, "--network custom"},
		"custom without chain":   {append(custom, account...), "--chain-id is required"},
		"fork version":           {append(append(custom, account...), "--chain-id", "5", "--fork-version", "0x1"), `--fork-version "0x1"`},
		"contract":               {append(append(custom, account...), "--chain-id", "5", "--fork-version", "0x10000038", "--deposit-contract", "0x12"), "--deposit-contract"},
		"nobody to withdraw":     {[]string{"--execution-rpc", "http://127.0.0.1:1", "--network", "hoodi"}, "say where stakes are withdrawn to"},
		"two ways to withdraw":   {[]string{"--execution-rpc", "http://127.0.0.1:1", "--network", "hoodi", "--bls-withdrawal", "--compounding"}, "--bls-withdrawal excludes"},
		"no account":             {[]string{"--execution-rpc", "http://127.0.0.1:1", "--network", "hoodi", "--bls-withdrawal"}, "--funding-keystore"},
		"two accounts":           {append(append(signer, "--funding-address", "0x00000000219ab540356cBB839Cbe05303d7705Fa"), account...), "--funding-keystore excludes --funding-signer"},
		"signer and no address":  {signer, "--funding-signer and --funding-address go together"},
		"signer's address":       {append(signer, "--funding-address", "0x12"), "--funding-address"},
		"signer's URL":           {append(signer, "--funding-signer", "u:geheim@h", "--funding-address", "0x00000000219ab540356cBB839Cbe05303d7705Fa"), "--funding-signer: invalid deposit configuration"},
		"signer without chain":   {signer[4:], "--execution-rpc is missing: --"},
		"account not there":      {append([]string{"--execution-rpc", "http://127.0.0.1:1", "--network", "hoodi", "--bls-withdrawal"}, account...), "--funding-keystore"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flags, dataDir := flagsOf(t, c.flags...)
			code, stderr := runServer(t, flags)
			require.NotEqual(t, cli.ExitOK, code)
			require.Contains(t, stderr, c.says)
			require.NotContains(t, stderr, "geheim", "a password was told")
			require.NoFileExists(t, filepath.Join(dataDir, "node-id"), "data was touched")
		})
	}
}

// A cluster that has another way in needs no file of tokens; without any the log says so.
// A node that is none of the founders has to be of their kind.
func TestFounders(t *testing.T) {
	t.Parallel()
	peers := []string{"ks-0=ks-0.p:1", "ks-1=ks-1.p:1"}
	for name, c := range map[string]struct {
		name, advertised string
		says             string
	}{
		"a founder":         {"ks-1", "ks-1.p:1", ""},
		"a further one":     {"ks-4", "ks-4.p:1", ""},
		"at another place":  {"ks-4", "ks-4.q:1", "its address ks-4.q:1 is not like theirs"},
		"of another kind":   {"other", "other.p:1", "--peers does not name this node, other"},
		"where it listens":  {"ks-4", "", "its address 127.0.0.1:8300 is not like theirs"},
		"ordinal of no one": {"ks-04", "ks-04.p:1", "does not name this node"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &serverOptions{name: c.name, raftAdvertise: c.advertised, raftAddr: "127.0.0.1:8300", peers: peers}
			list, err := o.founders()
			if c.says != "" {
				o.invited = true
				_, let := o.founders()
				require.NoError(t, let, "an operator may let it in")
			}
			if c.says == "" {
				require.NoError(t, err)
				require.Len(t, list, 2)
				return
			}
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestNoTokenHashes(t *testing.T) {
	t.Parallel()
	flags, _ := flagsOf(t, "--token-hashes", "", "--api-addr", "127.0.0.1:x")
	_, stderr := runServer(t, flags)
	require.NotContains(t, stderr, "token-hashes is required")
	require.Contains(t, stderr, "listen")
}

// Certificates that can not work are told before the node starts.
func TestServerRefusesCertificates(t *testing.T) {
	t.Parallel()
	raftCA, apiCA := pkitest.NewAuthority(t, "Raft CA"), pkitest.NewAuthority(t, "API CA")
	raft := func(f pki.Files) []string {
		return []string{"--raft-tls-cert", f.Cert, "--raft-tls-key", f.Key, "--raft-tls-ca", f.CA}
	}
	good := raftCA.Write(t, t.TempDir(), []string{"127.0.0.1"})
	mixed := apiCA.Write(t, t.TempDir(), []string{"127.0.0.1"})
	mixed.CA = good.CA
	open := raftCA.Write(t, t.TempDir(), []string{"127.0.0.1"})
	require.NoError(t, os.Chmod(open.Key, 0o604))
	for name, c := range map[string]struct {
		flags []string
		says  string
	}{
		"of the API's CA": {raft(mixed), "issued by CN=API CA) is not by the authorities in"},
		"other host":      {append(raft(good), "--advertise-raft", "n1.example:8300"), "is not for n1.example"},
		"key for all":     {raft(open), "lets everybody in"},
		"one CA for both": {append(raft(good), "--tls-cert", good.Cert, "--tls-key", good.Key, "--tls-client-ca", good.CA), "--tls-client-ca and --raft-tls-ca both hold CN=Raft CA"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flags, dataDir := flagsOf(t, c.flags...)
			code, stderr := runServer(t, flags)
			require.NotEqual(t, cli.ExitOK, code)
			require.Contains(t, stderr, c.says)
			require.NoDirExists(t, dataDir)
		})
	}
}

func TestAllowedConnections(t *testing.T) {
	t.Parallel()
	for files, want := range map[uint64]int{0: 16, 256: 128, 1024: 512, 20_000: 20_000 - reservedFiles, ^uint64(0): 1<<30 - reservedFiles} {
		require.Equal(t, want, allowedConnections(files), files)
	}
}

func TestServerRefusesForeignFolder(t *testing.T) {
	t.Parallel()
	flags, dataDir := flagsOf(t)
	require.NoError(t, os.MkdirAll(dataDir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dataDir, "precious"), []byte("x"), 0o600))
	code, stderr := runServer(t, flags)
	require.Equal(t, cli.ExitFailure, code)
	require.Contains(t, stderr, "not the data folder of a keysteward node")
	entries, err := os.ReadDir(dataDir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "the folder was changed")
}

func TestServerRefusesTakenPort(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() }) // after the subtests, which run in parallel
	for _, flag := range []string{"--api-addr", "--raft-addr"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			flags, dataDir := flagsOf(t, flag, l.Addr().String())
			code, stderr := runServer(t, flags)
			require.Equal(t, cli.ExitFailure, code)
			require.Contains(t, stderr, flag)
			require.NoDirExists(t, dataDir)
		})
	}
}

// A signer that is away keeps nobody from starting.
func TestFundingSigner(t *testing.T) {
	t.Parallel()
	var o depositOptions
	o.bind()
	require.NoError(t, o.flags.Parse([]string{
		"--execution-rpc", "http://127.0.0.1:1", "--network", "hoodi", "--bls-withdrawal",
		"--funding-signer", "http://127.0.0.1:1", "--funding-address", "0x00000000219ab540356cBB839Cbe05303d7705Fa",
	}))
	cfg, err := o.config(false)
	require.NoError(t, err)
	require.Equal(t, "0x00000000219ab540356cBB839Cbe05303d7705Fa", cfg.Funding.Address().Hex())
}

// Whoever gives times of elections that do not fit the others hears of his flag.
func TestElectionTimesThatDoNotFit(t *testing.T) {
	t.Parallel()
	for flag, o := range map[string]serverOptions{
		"":                   {heartbeat: 2 * time.Second},
		"--election-timeout": {heartbeat: 300 * time.Millisecond, election: 200 * time.Millisecond},
		"--lease-timeout":    {heartbeat: 300 * time.Millisecond, lease: 200 * time.Millisecond},
	} {
		o.restAfterProof = defaultRest
		if err := o.checkTimes(); flag == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, flag)
		}
	}
}
