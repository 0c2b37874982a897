package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

var (
	documented = regexp.MustCompile("(?m)^\\| `(keysteward_[a-z0-9_]+)` \\| (\\w+) \\| ([^|]*)\\|")
	selection  = regexp.MustCompile(`^([a-z_:0-9]+){([^}]*)}$`)
	// others are metrics of others, with the labels of all: Prometheus gives every target a namespace
	// and a pod.
	others    = regexp.MustCompile(`^(go|process|kubelet_volume_stats)_`)
	allLabels = "namespace,pod,"
)

// metrics are those of the table in README.md, which a test of the server holds against what it
// shows: their labels by the names that can be asked for.
func metrics(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	list := make(map[string]string)
	for _, m := range documented.FindAllStringSubmatch(string(text), -1) {
		labels := strings.NewReplacer("`", "", " ", "").Replace(m[3])
		if m[2] != "histogram" {
			list[m[1]] = labels
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			list[m[1]+suffix] = labels + ",le"
		}
	}
	require.Greater(t, len(list), 50)
	return list
}

// requireExpressions holds if Prometheus can read all of them, and what they ask for is there.
func requireExpressions(t *testing.T, expressions []string) {
	t.Helper()
	const interval = "$__rate_interval" // Grafana's
	lines := strings.ReplaceAll(strings.Join(expressions, "\n"), interval, "5m")
	out, err := run(t, []byte(lines+"\n"), tool(t, "promql"))
	require.NoError(t, err, out)
	have := metrics(t)
	answers := strings.Split(strings.TrimRight(out, "\n"), "\n")
	require.Len(t, answers, len(expressions))
	for i, answer := range answers {
		require.NotEmpty(t, answer, expressions[i])
		for _, what := range strings.Fields(answer) {
			s := selection.FindStringSubmatch(what)
			require.NotNil(t, s, what)
			if others.MatchString(s[1]) {
				continue
			}
			require.Contains(t, have, s[1], "nobody shows it: %s", expressions[i])
			for _, label := range strings.FieldsFunc(s[2], func(r rune) bool { return r == ',' }) {
				require.Contains(t, ","+allLabels+have[s[1]]+",", ","+label+",", expressions[i])
			}
		}
	}
}

// What alerts ask for is there: a metric that nobody exports alarms nobody.
func TestAlertsAskForMetricsThatExist(t *testing.T) {
	t.Parallel()
	objects, _ := rendered(t, "-f", everything)
	var expressions []string
	for _, o := range objects {
		if o.GetKind() != "PrometheusRule" {
			continue
		}
		text, err := o.MarshalJSON()
		require.NoError(t, err)
		var rule struct {
			Spec struct {
				Groups []struct {
					Rules []struct{ Expr, Alert string }
				}
			}
		}
		require.NoError(t, json.Unmarshal(text, &rule))
		for _, group := range rule.Spec.Groups {
			for _, r := range group.Rules {
				expressions = append(expressions, r.Expr)
			}
		}
	}
	require.GreaterOrEqual(t, len(expressions), 20)
	requireExpressions(t, expressions)
}

// dashboard is as far as it is of interest.
type dashboard struct {
	UID    string
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ Expr string }
	}
	Templating struct{ List []struct{ Name string } }
}

func TestDashboardAsksForMetricsThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chart, "dashboards", "keysteward.json"))
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
	}
	var expressions []string
	ids := map[int]bool{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], "%s: the ID %d is another panel's", p.Title, p.ID)
		ids[p.ID] = true
		require.NotEmpty(t, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	for _, v := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(string(text), -1) {
		require.True(t, variables[v[1]], "$%s is no variable", v[1])
	}
	require.Greater(t, len(expressions), 50)
	requireExpressions(t, expressions)
}

// Off by default; the sidecar finds it by its label, and it is the very file.
func TestDashboardIsShipped(t *testing.T) {
	t.Parallel()
	for name, values := range both() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, _ := rendered(t, values...)
			var shipped *corev1.ConfigMap
			for _, c := range of[corev1.ConfigMap](t, objects, "ConfigMap") {
				if c.Name == "keysteward-dashboard" {
					shipped = c
				}
			}
			require.Equal(t, name == "everything", shipped != nil)
			if shipped == nil {
				return
			}
			require.Equal(t, "1", shipped.Labels["grafana_dashboard"])
			require.Equal(t, "Keysteward", shipped.Annotations["grafana_folder"])
			text, err := os.ReadFile(filepath.Join(chart, "dashboards", "keysteward.json"))
			require.NoError(t, err)
			require.JSONEq(t, string(text), shipped.Data["keysteward.json"])
		})
	}
}
