package local

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runbook is cluster/README.md as somebody follows it: of each section the commands, as
// they stand in indented blocks, one a line. What was given is marked, so that a test
// can tell that it left nothing out.
type runbook struct {
	commands map[string][]string
	given    map[string]bool
}

// commandLine is a line of a block that is given to a shell.
var commandLine = regexp.MustCompile(`^ {4,}((?:keysteward|curl|kubectl|for|sed|export|kill) .*)$`)

func readRunbook(t *testing.T) *runbook {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	b := &runbook{commands: map[string][]string{}, given: map[string]bool{}}
	section := ""
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		line = strings.TrimRight(line, "\n")
		if title := strings.TrimLeft(line, "#"); title != line {
			section = strings.TrimSpace(title)
		} else if m := commandLine.FindStringSubmatch(line); m != nil {
			command, _, _ := strings.Cut(m[1], "  #") // a comment, after at least two blanks
			b.commands[section] = append(b.commands[section], strings.TrimSpace(command))
		}
	}
	return b
}

// give pastes the command of a section that begins so into a shell, with what it wants
// filled in: pairs of what stands there and what it is here.
func (b *runbook) give(t *testing.T, l *launcher, section, begins string, fill ...string) (string, error) {
	t.Helper()
	var found string
	for _, command := range b.commands[section] {
		if strings.HasPrefix(command, begins) && (found == "" || command == begins) {
			found = command
		}
	}
	require.NotEmpty(t, found, "the runbook has no command %q under %q", begins, section)
	b.given[section+found] = true
	for i := 0; i < len(fill); i += 2 {
		require.Contains(t, found, fill[i], "the placeholder is not there")
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.NewReplacer(fill...).Replace(found))
	cmd.Dir = l.folder.path
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(l.binary)+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"KEYSTEWARD_SERVER="+strings.Join(l.site.apiURLs(), ","), "KEYSTEWARD_TOKEN_FILE="+l.site.tokens.Admin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// follow is give for a command that does what it is to do.
func (b *runbook) follow(t *testing.T, l *launcher, section, begins string, fill ...string) string {
	t.Helper()
	out, err := b.give(t, l, section, begins, fill...)
	require.NoError(t, err, "%s\n%s", begins, out)
	return out
}

// requireAllGiven wants every command of these sections to have been given.
func (b *runbook) requireAllGiven(t *testing.T, sections ...string) {
	t.Helper()
	for _, section := range sections {
		require.NotEmpty(t, b.commands[section], section)
		for _, command := range b.commands[section] {
			require.True(t, b.given[section+command], "under %q stands a command that this test does not give: %s", section, command)
		}
	}
}

// Every command of ours in the runbook exists and has the flags that stand there.
func TestRunbookNamesNoUnknownCommand(t *testing.T) {
	t.Parallel()
	binary, _ := binaries(t)
	commands, flag := 0, regexp.MustCompile(`--[a-z-]+`)
	ours := regexp.MustCompile(`keysteward ((?:[a-z-]+ )*[a-z-]+)(.*)`)
	for section, lines := range readRunbook(t).commands {
		for _, line := range lines {
			m := ours.FindStringSubmatch(line)
			if m == nil || !strings.HasPrefix(line, "keysteward ") {
				continue
			}
			commands++
			words := strings.Fields(m[1])
			var help []byte
			for ; len(words) > 0; words = words[:len(words)-1] { // the last ones may be names of things
				out, err := exec.CommandContext(t.Context(), binary, append(words, "--help")...).CombinedOutput()
				if err == nil && bytes.Contains(out, []byte("keysteward "+strings.Join(words, " ")+" ")) {
					help = out
					break
				}
			}
			require.NotEmpty(t, words, "%s: %s", section, line)
			for _, f := range flag.FindAllString(m[2], -1) {
				require.Contains(t, string(help), f, "%s: %s", section, line)
			}
		}
	}
	require.Greater(t, commands, 25, "they are not found any more")
}
