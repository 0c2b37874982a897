package local

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	tailBytes = 16 << 10
	tailLines = 12
)

// openLog opens a node's log to append to it.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, secretMode)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// logTail returns the last lines of a log, indented, for a message about what went
// wrong; what can not be read is said there.
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "    " + err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = f.Seek(-tailBytes, io.SeekEnd) // else from the beginning
	}
	raw, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return "    " + err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	begin := max(0, len(lines)-tailLines)
	for i, line := range lines { // what matters of a crash is its beginning
		if i < begin && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")) {
			lines, begin = lines[:min(len(lines), i+tailLines)], i
			break
		}
	}
	lines = lines[begin:]
	return "    " + strings.Join(lines, "\n    ")
}
