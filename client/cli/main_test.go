package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/client/clienttest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	runAsPlugin()
	goleak.VerifyTestMain(m)
}

// shell runs commands with an environment and a terminal of its own.
type shell struct {
	env      map[string]string
	terminal bool
	command  string // how kubectl calls it
	stdin    io.Reader
	ctx      context.Context //nolint:containedctx // of the next command
}

// said is what a command did.
type said struct {
	code     int
	out, err string
}

func (s shell) run(t *testing.T, args ...string) said {
	t.Helper()
	a := &app{
		version: "v1.2.3", random: rand.Reader, now: time.Now, command: func() string { return orElse(s.command, commandName) }, terminal: func(io.Writer) bool { return s.terminal },
		lookupEnv: func(name string) (string, bool) { value, found := s.env[name]; return value, found },
	}
	root := a.root()
	var out, errs bytes.Buffer
	root.SetArgs(append([]string{}, args...))
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(""))
	if s.stdin != nil {
		root.SetIn(s.stdin)
	}
	ctx := s.ctx
	if ctx == nil {
		ctx = t.Context()
	}
	code := Run(ctx, root)
	return said{code, out.String(), errs.String()}
}

// at is a shell whose environment knows the cluster.
func at(cluster *clienttest.Cluster) shell {
	return shell{env: map[string]string{
		"KEYSTEWARD_SERVER":     strings.Join(cluster.URLs(), ","),
		"KEYSTEWARD_TOKEN_FILE": cluster.TokenFile(),
	}}
}

// golden compares a text with a file under testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}
