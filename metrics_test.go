package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/pki"
	"github.com/keysteward/keysteward/node/pki/pkitest"
)

// partsWithEverything are those of a node that has all that can be switched on. It runs nothing.
func partsWithEverything(t *testing.T) *parts {
	t.Helper()
	dir := t.TempDir()
	raft, api, clients := pkitest.NewAuthority(t, "Raft CA"), pkitest.NewAuthority(t, "API CA"), pkitest.NewAuthority(t, "Client CA")
	members, servers := raft.Write(t, t.TempDir(), []string{"127.0.0.1"}), api.Write(t, t.TempDir(), []string{"127.0.0.1"})
	callers := clients.Write(t, t.TempDir(), []string{"127.0.0.1"})
	kubeconfig := filepath.Join(dir, "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"c",
		"clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],"users":[{"name":"u","user":{"token":"t"}}],
		"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}`), 0o600))
	flags, _ := flagsOf(t, append(tlsFlags(members, servers, callers),
		"--kubernetes", kubeconfig, "--pods", "a/b", "--witness", "kubernetes", "--audit-file", filepath.Join(dir, "audit.jsonl"),
		"--beacon-api", "http://127.0.0.1:1", "--network", "hoodi", "--execution-rpc", "http://127.0.0.1:1", "--bls-withdrawal",
		"--funding-signer", "http://127.0.0.1:1", "--funding-address", "0x00000000219ab540356cBB839Cbe05303d7705Fa",
		"--otlp-endpoint", "http://127.0.0.1:1", "--backup-every", "1h", "--backup-to", dir)...)
	var o serverOptions
	f := pflag.NewFlagSet("server", pflag.ContinueOnError)
	o.bind(f)
	require.NoError(t, f.Parse(flags[1:]))
	require.NoError(t, o.check())
	p, err := o.parts(t.Context(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(p.abandon)
	return p
}

func tlsFlags(members, servers, callers pki.Files) []string {
	return []string{
		"--raft-tls-cert", members.Cert, "--raft-tls-key", members.Key, "--raft-tls-ca", members.CA,
		"--tls-cert", servers.Cert, "--tls-key", servers.Key, "--tls-client-ca", callers.CA,
	}
}

// exported are the metrics that a registry can show: their labels by name.
func exported(r *prometheus.Registry) map[string][]string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		r.Describe(descs)
	}()
	list := make(map[string][]string)
	for d := range descs {
		match := described.FindStringSubmatch(d.String())
		list[match[1]] = strings.FieldsFunc(match[2], func(r rune) bool { return r == ',' })
	}
	return list
}

var described = regexp.MustCompile(`^Desc{fqName: "([^"]*)".*variableLabels: {([^}]*)}}$`)

// row is a line of the table of metrics.
type row struct{ kind, labels, tells string }

var rowOf = regexp.MustCompile("(?m)^\\| `(keysteward_[a-z0-9_]+)` \\| (\\w+) \\| ([^|]*)\\| ([^|]+) \\|$")

// table is that of cluster/deploy/README.md.
func table(t *testing.T) map[string]row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("cluster", "deploy", "README.md"))
	require.NoError(t, err)
	rows := make(map[string]row)
	for _, m := range rowOf.FindAllStringSubmatch(string(text), -1) {
		require.NotContains(t, rows, m[1], "twice")
		rows[m[1]] = row{kind: m[2], labels: strings.NewReplacer("`", "", " ", "").Replace(m[3]), tells: m[4]}
	}
	require.Len(t, rows, strings.Count(string(text), "\n| `keysteward_"), "a row is not as the others are")
	return rows
}

// The table tells of every metric that there is, and of none that is not: name, type, labels.
func TestEveryMetricIsInTheTable(t *testing.T) {
	t.Parallel()
	p := partsWithEverything(t)
	rows, shown := table(t), exported(p.metrics)
	families, err := p.metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "keysteward_") {
			continue
		}
		require.Contains(t, rows, f.GetName(), "it is missing in the table")
		require.Equal(t, strings.ToLower(f.GetType().String()), rows[f.GetName()].kind, f.GetName())
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		shown[f.GetName()] = labels
	}
	for name, labels := range shown {
		if !strings.HasPrefix(name, "keysteward_") {
			require.Regexp(t, "^(go|process)_", name)
			continue
		}
		require.Contains(t, rows, name, "it is missing in the table")
		require.ElementsMatch(t, labels, strings.FieldsFunc(rows[name].labels, func(r rune) bool { return r == ',' }), name)
	}
	for name := range rows {
		require.Contains(t, shown, name, "nobody shows it")
	}
}

// Names, units and help are as Prometheus wants them.
func TestMetricsKeepToTheConventions(t *testing.T) {
	t.Parallel()
	p := partsWithEverything(t)
	families, err := p.metrics.Gather()
	require.NoError(t, err)
	have := make(map[string]bool)
	for _, f := range families {
		have[f.GetName()] = true
	}
	kinds := map[string]dto.MetricType{"counter": dto.MetricType_COUNTER, "gauge": dto.MetricType_GAUGE, "histogram": dto.MetricType_HISTOGRAM}
	for name, r := range table(t) {
		if have[name] {
			continue
		}
		kind, known := kinds[r.kind]
		require.True(t, known, name)
		families = append(families, &dto.MetricFamily{Name: &name, Help: &r.tells, Type: &kind})
	}
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "keysteward_") })
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}
