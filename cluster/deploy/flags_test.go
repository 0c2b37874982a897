package deploy

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// program is keysteward, built once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "keysteward")
	out, err := exec.Command("go", "build", "-o", path, "../..").CombinedOutput()
	return path, wrap(err, out)
})

func keysteward(t *testing.T) string {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	return path
}

var flag = regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z0-9-]+)`)

// flags of a command, by its help.
func flags(t *testing.T, command ...string) map[string]bool {
	t.Helper()
	out, err := run(t, nil, keysteward(t), append(command, "--help")...)
	require.NoError(t, err, out)
	known := map[string]bool{}
	for _, match := range flag.FindAllStringSubmatch(out, -1) {
		known[match[1]] = true
	}
	require.NotEmpty(t, known)
	return known
}

// requireFlags checks that all arguments and variables of our containers are flags of
// the command that they run.
func requireFlags(t *testing.T, objects []unstructured.Unstructured) {
	t.Helper()
	variables := map[string][]string{} // of ConfigMaps
	for _, c := range of[corev1.ConfigMap](t, objects, "ConfigMap") {
		for key := range c.Data {
			variables[c.Name] = append(variables[c.Name], key)
		}
	}
	for name, pod := range templates(t, objects) {
		for _, c := range containers(pod.Spec) {
			if !strings.HasPrefix(c.Image, "keysteward:") {
				continue
			}
			var command, used []string
			for _, arg := range c.Args {
				if f, ok := strings.CutPrefix(arg, "--"); ok {
					f, _, _ = strings.Cut(f, "=")
					used = append(used, f)
				} else if len(used) == 0 {
					command = append(command, arg)
				}
			}
			env := []string{}
			for _, e := range c.Env {
				env = append(env, e.Name)
			}
			for _, from := range c.EnvFrom {
				env = append(env, variables[from.ConfigMapRef.Name]...)
			}
			for _, variable := range env {
				if f, ok := strings.CutPrefix(variable, "KEYSTEWARD_"); ok {
					used = append(used, strings.ToLower(strings.ReplaceAll(f, "_", "-")))
				}
			}
			known := flags(t, command...)
			for _, f := range used {
				require.True(t, known[f], "%s, container %s: %v has no flag --%s", name, c.Name, command, f)
			}
		}
	}
}

func TestEveryFlagOfTheChartExists(t *testing.T) {
	t.Parallel()
	for name, values := range both() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, _ := rendered(t, values...)
			requireFlags(t, objects)
		})
	}
}
