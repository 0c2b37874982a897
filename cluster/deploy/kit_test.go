package deploy

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	chart     = "chart"
	namespace = "keysteward"
)

// everything is a file of values with all that can be switched on.
var everything = filepath.Join("testdata", "everything.yaml")

// tool is the path of a program that scripts/tool builds.
func tool(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join("..", "..", "scripts", "tool"), name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// run runs a program and returns what it writes, errors among it.
func run(t *testing.T, stdin []byte, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// template renders the chart.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return run(t, nil, tool(t, "helm"), append([]string{"template", "keysteward", chart, "--namespace", namespace}, args...)...)
}

// rendered is the chart with these values.
func rendered(t *testing.T, args ...string) (objects []unstructured.Unstructured, text string) {
	t.Helper()
	text, err := template(t, args...)
	require.NoError(t, err, text)
	return parse(t, text), text
}

func parse(t *testing.T, text string) []unstructured.Unstructured {
	t.Helper()
	var list []unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		var object map[string]any
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err)
		if len(object) > 0 {
			list = append(list, unstructured.Unstructured{Object: object})
		}
	}
}

// only is the one object of a kind, as its type; its fields are all known.
func only[T any](t *testing.T, objects []unstructured.Unstructured, kind string) *T {
	t.Helper()
	found := of[T](t, objects, kind)
	require.Len(t, found, 1, kind)
	return found[0]
}

// of are all objects of a kind.
func of[T any](t *testing.T, objects []unstructured.Unstructured, kind string) []*T {
	t.Helper()
	var found []*T
	for _, o := range objects {
		if o.GetKind() != kind {
			continue
		}
		typed := new(T)
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, typed, true), o.GetName())
		found = append(found, typed)
	}
	return found
}

// templates are the pods that objects make, by the name of what makes them.
func templates(t *testing.T, objects []unstructured.Unstructured) map[string]corev1.PodTemplateSpec {
	t.Helper()
	pods := map[string]corev1.PodTemplateSpec{}
	for _, o := range objects {
		made, found, err := unstructured.NestedMap(o.Object, "spec", "template")
		require.NoError(t, err)
		if !found {
			continue
		}
		var pod corev1.PodTemplateSpec
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(made, &pod, true))
		pods[o.GetKind()+"/"+o.GetName()] = pod
	}
	return pods
}

// containers are all of a pod.
func containers(pod corev1.PodSpec) []corev1.Container {
	return append(append([]corev1.Container(nil), pod.InitContainers...), pod.Containers...)
}

// splitNames are the elements of a flag's list: --flag=a,b.
func splitNames(arg string) []string {
	_, list, _ := strings.Cut(arg, "=")
	return strings.Split(list, ",")
}
