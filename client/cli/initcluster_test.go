package cli

import (
	"bufio"
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	words      = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
	otherWords = "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote"
)

func fingerprint(t *testing.T, text, passphrase string) string {
	t.Helper()
	mnemonic, err := validator.ParseMnemonic(text)
	require.NoError(t, err)
	return mnemonic.Seed(passphrase).Fingerprint()
}

func TestInitFromAFile(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	cluster.Lead(1)
	sh := at(cluster)
	file := writeFile(t, strings.ReplaceAll(words, " ", "\n"))
	got := sh.run(t, "init", "--mnemonic-file", file)
	require.Zero(t, got.code, got.err)
	require.Equal(t, "the cluster has its seed, with the fingerprint "+fingerprint(t, words, "")+"\n"+usedBefore, got.out)
	require.Equal(t, fingerprint(t, words, ""), cluster.SeedFingerprint())

	got = sh.run(t, "init", "--mnemonic-file", file)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "nothing to do")

	got = sh.run(t, "init", "--mnemonic-file", writeFile(t, otherWords))
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "another seed")

	got = sh.run(t, "init", "--mnemonic-file", file, "--mnemonic-passphrase-file", writeFile(t, "x"))
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "another seed")

	got = sh.run(t, "init", "--mnemonic-out", filepath.Join(t.TempDir(), "words"))
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "has a seed already")
	for _, request := range cluster.Requests() {
		require.NotContains(t, request.Path+request.Query, "abandon")
	}
}

func TestInitWithPassphrase(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	got := at(cluster).run(t, "init", "--mnemonic-file", writeFile(t, words), "--mnemonic-passphrase-file", writeFile(t, "TREZOR \r\n"))
	require.Zero(t, got.code, got.err)
	require.Equal(t, fingerprint(t, words, "TREZOR "), cluster.SeedFingerprint())
}

func TestInitWritesGeneratedWords(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	file := filepath.Join(t.TempDir(), "words")
	got := sh.run(t, "init", "--mnemonic-out", file)
	require.Zero(t, got.code, got.err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, strings.Fields(string(text)), 24)
	require.Equal(t, fingerprint(t, string(text), ""), cluster.SeedFingerprint())
	require.NotContains(t, got.out+got.err, strings.Fields(string(text))[0]+" "+strings.Fields(string(text))[1])

	fresh := clienttest.Start(t, 1)
	got = at(fresh).run(t, "init", "--mnemonic-out", file)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "file exists")
	require.Empty(t, fresh.SeedFingerprint())
}

func TestInitRefuses(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no terminal", []string{"--yes"}, ExitUsage, "use --mnemonic-out"},
		{"both files", []string{"--mnemonic-file", "a", "--mnemonic-out", "b"}, ExitUsage, "give one of them"},
		{"no such file", []string{"--mnemonic-file", "/nowhere"}, ExitFailure, "/nowhere"},
		{"wrong checksum", []string{"--mnemonic-file", writeFile(t, strings.Replace(words, "about", "zoo", 1))}, ExitFailure, "checksum"},
		{"large file", []string{"--mnemonic-file", writeFile(t, strings.Repeat("zoo ", 10_000))}, ExitFailure, "more than"},
		{"unknown word", []string{"--mnemonic-file", writeFile(t, strings.Replace(words, "about", "hunter2", 1))}, ExitFailure, "word 12"},
	}
	for _, test := range tests {
		got := sh.run(t, append([]string{"init"}, test.args...)...)
		require.Equal(t, test.code, got.code, "%s: %s", test.name, got.err)
		require.Contains(t, got.err, test.says, test.name)
		require.NotContains(t, got.err, "hunter2")
		require.NotContains(t, got.err, "abandon")
	}
	require.Empty(t, cluster.SeedFingerprint())
}

func TestInitWhenTheLeaderChanges(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	var puts atomic.Int32
	cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && puts.Add(1) <= 2 {
			cluster.ChangeRecipient()
		}
		return false
	}
	got := at(cluster).run(t, "init", "--mnemonic-file", writeFile(t, words))
	require.Zero(t, got.code, got.err)
	require.Equal(t, fingerprint(t, words, ""), cluster.SeedFingerprint())
	require.Equal(t, int32(3), puts.Load())
}

func TestInitWhenItAlwaysChanges(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			cluster.ChangeRecipient()
		}
		return false
	}
	file := filepath.Join(t.TempDir(), "words")
	got := at(cluster).run(t, "init", "--mnemonic-out", file)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "stale-recipient")
	require.Contains(t, got.err, "repeat with --mnemonic-file "+file)
}

var (
	shownWord = regexp.MustCompile(`(\d+)\. ([a-z]+)`)
	question  = regexp.MustCompile(`Word (\d+): $`)
)

// dialogue answers the questions of init as a person does who wrote the words down,
// or as one who did not. It returns when the command does.
func dialogue(t *testing.T, sh shell, answer func(word string) string) (said, []string) {
	t.Helper()
	screen, writer := io.Pipe()
	keyboard, typist := io.Pipe()
	shown := map[string]string{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = typist.Close() }()
		reader := bufio.NewReader(screen)
		var line strings.Builder
		for {
			b, err := reader.ReadByte()
			if err != nil {
				return
			}
			line.WriteByte(b)
			if b == '\n' {
				for _, match := range shownWord.FindAllStringSubmatch(line.String(), -1) {
					shown[match[1]] = match[2]
				}
				line.Reset()
			} else if match := question.FindStringSubmatch(line.String()); match != nil {
				_, _ = io.WriteString(typist, answer(shown[match[1]])+"\n")
				line.Reset()
			}
		}
	}()
	a := &app{terminal: func(io.Writer) bool { return true }, random: fixed{}, lookupEnv: func(name string) (string, bool) {
		value, found := sh.env[name]
		return value, found
	}}
	root := a.root()
	var out strings.Builder
	root.SetArgs([]string{"init"})
	root.SetIn(keyboard)
	root.SetOut(&out)
	root.SetErr(writer)
	code := Run(t.Context(), root)
	_ = keyboard.Close()
	_ = writer.Close()
	<-done
	var list []string
	for range shown {
		list = append(list, shown[strconv.Itoa(len(list)+1)])
	}
	return said{code: code, out: out.String()}, list
}

// fixed is no randomness at all.
type fixed struct{}

func (fixed) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 31)
	}
	return len(p), nil
}

func TestInitAsksWordsBack(t *testing.T) {
	t.Parallel()
	t.Run("right", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		got, shown := dialogue(t, at(cluster), func(word string) string { return " " + strings.ToUpper(word) })
		require.Zero(t, got.code)
		require.Len(t, shown, 24)
		require.Equal(t, fingerprint(t, strings.Join(shown, " "), ""), cluster.SeedFingerprint())
		require.NotContains(t, got.out, shown[0])
	})
	t.Run("wrong once", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		first := true
		got, _ := dialogue(t, at(cluster), func(word string) string {
			if first {
				first = false
				return "what?"
			}
			return word
		})
		require.Zero(t, got.code)
		require.NotEmpty(t, cluster.SeedFingerprint())
	})
	t.Run("always wrong", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		got, _ := dialogue(t, at(cluster), func(string) string { return "" })
		require.Equal(t, ExitFailure, got.code)
		require.Empty(t, cluster.SeedFingerprint())
	})
	t.Run("nobody answers", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		sh := at(cluster)
		sh.terminal = true
		got := sh.run(t, "init")
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "nothing was submitted: EOF")
		require.Empty(t, cluster.SeedFingerprint())
	})
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		sh := at(cluster)
		sh.terminal = true
		ctx, cancel := context.WithCancel(t.Context())
		keyboard, typist := io.Pipe()
		sh.ctx, sh.stdin = ctx, &onRead{Reader: keyboard, call: cancel}
		got := sh.run(t, "init")
		_ = typist.Close()
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "context canceled")
		require.Empty(t, cluster.SeedFingerprint())
	})
	t.Run("not asked", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		sh := at(cluster)
		sh.terminal = true
		got := sh.run(t, "init", "--yes")
		require.Zero(t, got.code, got.err)
		require.NotContains(t, got.err, "Word ")
		require.NotEmpty(t, cluster.SeedFingerprint())
	})
}

// onRead calls something when it is read.
type onRead struct {
	io.Reader
	call func()
}

func (r *onRead) Read(p []byte) (int, error) {
	r.call()
	return r.Reader.Read(p)
}
