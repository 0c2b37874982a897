package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/clienttest"
)

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ args, says string }{
		{"frobnicate", `unknown command "frobnicate"`},
		{"alocate", "did you mean allocate?"},
		{"keys", "needs a subcommand"},
		{"keys frob", `unknown command "frob" for "keysteward keys"`},
		{"keys list --state lost --server http://127.0.0.1:1", "choose one of generated"},
		{"keys list --frob", "unknown flag: --frob"},
		{"keys list more --server http://127.0.0.1:1", `keys list takes no arguments, got "more"`},
		{"keys list", "KEYSTEWARD_SERVER"},
		{"keys list --server http://10.1.1.1:1", "plain http"},
		{"keys list --server http://127.0.0.1:1 --timeout -1s", "negative"},
		{"keys list --server http://127.0.0.1:1 --output xml", "choose one of table, json, yaml"},
		{"keys show 0x12 --server http://127.0.0.1:1", "public key"},
		{"keys show --server http://127.0.0.1:1", "keys show needs a public key, got none"},
		{"keys show 0x1 0x2 --server http://127.0.0.1:1", `keys show takes one public key, got "0x1", "0x2"`},
		{"allocate a b", `allocate takes no arguments, got "a", "b"`},
		{"completion bogus", `unknown command "bogus" for "keysteward completion"`},
		{"completion bash more", `completion bash takes no arguments, got "more"`},
		{"help bogus", `unknown command "bogus" for "keysteward"`},
		{"help keys bogus", `unknown command "bogus" for "keysteward keys"`},
		{"help release bogus", `unknown command "bogus" for "keysteward release"`},
		{"deposits list --state free --server http://127.0.0.1:1", "choose one of planned"},
		{"deposits show x --server http://127.0.0.1:1", "public key"},
		{"assignments --consistency perfect --server http://127.0.0.1:1", "choose one of stale"},
		{"release --server http://127.0.0.1:1", "--pod is required (or the environment variable KEYSTEWARD_POD)"},
		{"release --pod a --fence -2 --server http://127.0.0.1:1", "negative"},
		{"release --pod ../a --server http://127.0.0.1:1", "pod name"},
		{"release --pod a --confirm-stopped --server http://127.0.0.1:1", "--confirm-stopped needs --pod-uid (or the environment variable KEYSTEWARD_POD_UID)"},
		{"release --pod a --confirm-stopped --server http://127.0.0.1:1", "`keysteward assignments` shows it"},
		{"release --pod a --pod-uid a/b --server http://127.0.0.1:1", "pod UID"},
		{"version 1", `version takes no arguments, got "1"`},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			got := shell{}.run(t, strings.Fields(test.args)...)
			require.Equal(t, ExitUsage, got.code, got.err)
			require.Empty(t, got.out)
			require.Contains(t, got.err, test.says)
			require.NotContains(t, got.err, "Usage:", "no usage dump")
			for line := range strings.Lines(got.err) {
				require.True(t, strings.HasPrefix(line, "keysteward: "), line)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--help"}, {"allocate", "--help"}, {"completion"}, {"completion", "bash"}, {"help"}, {"help", "keys", "list"}} {
		got := shell{}.run(t, args...)
		require.Zero(t, got.code)
		require.NotEmpty(t, got.out)
		require.Empty(t, got.err)
	}
	require.Contains(t, shell{}.run(t, "--help").out, "4 no server could")
	require.Contains(t, shell{}.run(t, "help", "keys", "list").out, "keysteward keys list")
	for line := range strings.Lines(shell{}.run(t, "release", "--help").out) {
		require.LessOrEqual(t, strings.Count(line, "(default"), 1, line)
	}
	require.Contains(t, shell{}.run(t, "version").out, "keysteward v1.2.3 go")
	var out bytes.Buffer
	require.Zero(t, Execute(t.Context(), []string{"version"}, strings.NewReader(""), &out, io.Discard))
	require.Contains(t, out.String(), "keysteward unknown")
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"allocate --layout ":  "lighthouse\nlodestar\nnimbus\nteku\nprysm\n",
		"allocate --kdf ":     "pbkdf2\nscrypt\n",
		"keys list --state ":  "generated\ndepositing\nfree\nheld\nresting\nretired\n",
		"keys list --output ": "table\njson\nyaml\n",
		"deposits list -o ":   "table\njson\nyaml\n",
	}
	for args, want := range tests {
		got := shell{}.run(t, append([]string{"__complete"}, strings.Split(args, " ")...)...)
		require.Contains(t, got.out, want, args)
	}
	require.Contains(t, shell{}.run(t, "__complete", "deposit-data", "--network", "").out, "mainnet\nsepolia\nholesky\nhoodi\n")
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	type values struct {
		name  string
		count int
		list  []string
		yes   bool
	}
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want values
		says string
	}{
		{name: "defaults", want: values{name: "default", count: 1}},
		{
			name: "variables",
			env:  map[string]string{"KEYSTEWARD_A_NAME": "env", "KEYSTEWARD_COUNT": "7", "KEYSTEWARD_LIST": "a,b", "KEYSTEWARD_YES": "true"},
			want: values{"env", 7, []string{"a", "b"}, true},
		},
		{
			name: "flags go first", args: []string{"--a-name", "flag", "--list", "c", "--yes=false"},
			env:  map[string]string{"KEYSTEWARD_A_NAME": "env", "KEYSTEWARD_LIST": "a,b", "KEYSTEWARD_YES": "true"},
			want: values{"flag", 1, []string{"c"}, false},
		},
		{name: "empty is unset", env: map[string]string{"KEYSTEWARD_COUNT": "", "KEYSTEWARD_A_NAME": ""}, want: values{name: "default", count: 1}},
		{name: "malformed", env: map[string]string{"KEYSTEWARD_COUNT": "many"}, says: "environment variable KEYSTEWARD_COUNT"},
		{name: "help is no variable", env: map[string]string{"KEYSTEWARD_HELP": "true"}, want: values{name: "default", count: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got values
			a := &app{lookupEnv: func(name string) (string, bool) { value, found := test.env[name]; return value, found }}
			root := a.root()
			cmd := &cobra.Command{Use: "server", RunE: func(*cobra.Command, []string) error { return nil }}
			cmd.Flags().StringVar(&got.name, "a-name", "default", "")
			cmd.Flags().IntVar(&got.count, "count", 1, "")
			cmd.Flags().StringSliceVar(&got.list, "list", nil, "")
			cmd.Flags().BoolVar(&got.yes, "yes", false, "")
			root.AddCommand(cmd)
			var errs bytes.Buffer
			root.SetErr(&errs)
			root.SetArgs(append([]string{"server"}, test.args...))
			code := Run(t.Context(), root)
			if test.says != "" {
				require.Equal(t, ExitUsage, code)
				require.Contains(t, errs.String(), test.says)
				return
			}
			require.Zero(t, code, errs.String())
			require.Equal(t, test.want, got)
		})
	}
}

func TestBindEnvReadsTheProcess(t *testing.T) {
	t.Setenv("KEYSTEWARD_OUT_OF_PROCESS", "yes")
	cmd := &cobra.Command{}
	value := cmd.Flags().String("out-of-process", "", "")
	require.NoError(t, BindEnv(cmd))
	require.Equal(t, "yes", *value)
	require.True(t, cmd.Flags().Changed("out-of-process"))
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	tests := map[int][]error{
		ExitOK:        {nil},
		ExitFailure:   {errors.New("x"), &client.Problem{Status: 403}, context.Canceled, client.ErrAnswer, client.ErrToken, client.ErrRedirect},
		ExitUsage:     {usagef("x"), fmt.Errorf("a: %w", client.ErrRequest), client.ErrServer},
		ExitPending:   {&client.PendingError{Cause: context.DeadlineExceeded}},
		ExitPoolShort: {&client.Problem{Status: 409, Type: client.TypePoolShort}},
		ExitUnknown:   {client.ErrUnavailable, fmt.Errorf("a: %w: %w", client.ErrOutcomeUnknown, context.Canceled)},
	}
	for code, failures := range tests {
		for _, err := range failures {
			if err != nil {
				err = fmt.Errorf("wrapped: %w", err)
			}
			require.Equal(t, code, exitCode(err), "%v", err)
		}
	}
}

func TestErrorsAreOneLineAndSteerNoTerminal(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = refuse(500, "internal", "first\nsecond\x1b[2J\u202e")
	got := at(cluster).run(t, "keys", "list")
	require.Equal(t, ExitFailure, got.code)
	require.Equal(t, "keysteward: keys: first; second [2J  (500 internal, request request-1)\n", got.err)
}

func TestServersThatAreNotThere(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	cluster.Kill(0)
	for _, args := range []string{"keys list", "release --pod a", "assignments", "cluster status"} {
		got := sh.run(t, append(strings.Fields(args), "--timeout", "2s")...)
		require.Equal(t, ExitUnknown, got.code, got.err)
		require.Contains(t, got.err, "no server could answer")
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	sh.env["KEYSTEWARD_TOKEN_FILE"] = writeFile(t, "hunter2")
	got := sh.run(t, "keys", "list", "--verbose")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "401 unauthenticated")
	require.NotContains(t, got.err, "hunter2")

	sh.env["KEYSTEWARD_TOKEN_FILE"] = "/nowhere/token"
	got = sh.run(t, "keys", "list")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "/nowhere/token")
}
