package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMeterWritesLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	m := (&app{terminal: func(io.Writer) bool { return false }}).meter(&out, false)
	m.say("waiting: a")
	m.say("waiting: a")
	for i := range 101 {
		m.show("keys", i, 100)
	}
	m.say("waiting: b")
	m.show("files", 1, 2)
	m.close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 1+11+1+1)
	require.Equal(t, "waiting: a", lines[0])
	require.Equal(t, "keys: 100 of 100", lines[11])
	require.Equal(t, "files: 1 of 2", lines[13])
}

func TestMeterDrawsABar(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	m := (&app{terminal: func(io.Writer) bool { return true }}).meter(&out, false)
	m.show("keys", 1, 4)
	m.say("waiting: a")
	m.show("keys", 4, 4)
	m.show("files", 1, 2)
	m.close()
	m.close()
	require.Contains(t, out.String(), "keys")
	require.Contains(t, out.String(), "(1/4)")
	require.Contains(t, out.String(), "waiting: a\n")
	require.Contains(t, out.String(), "files")
}

func TestQuietMeter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	m := (&app{terminal: func(io.Writer) bool { return true }}).meter(&out, true)
	m.show("keys", 1, 4)
	m.say("waiting")
	m.close()
	require.Empty(t, out.String())
}
