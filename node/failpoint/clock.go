package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func (f Folder) clock(node string) string { return filepath.Join(string(f), node+".clock") }

// SetClock has the node's wall clock go wrong by so much; 0 sets it right.
func (f Folder) SetClock(node string, offset time.Duration) error {
	if offset != 0 {
		return f.tell(f.clock(node), offset.String())
	}
	if err := os.Remove(f.clock(node)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the clock of %s: %w", node, err)
	}
	return nil
}

// offset is how wrong the node's wall clock is.
func (f Folder) offset(node string) time.Duration {
	text, err := os.ReadFile(f.clock(node))
	if err != nil {
		return 0
	}
	offset, err := time.ParseDuration(string(text))
	if err != nil {
		return 0
	}
	return offset
}

func (f Folder) pace(node string) string { return filepath.Join(string(f), node+".pace") }

// SlowClock has the node, from its next start, measure time with a clock that runs so many
// times too slow: it gives others up late, and takes itself for the leader for longer than
// they do.
func (f Folder) SlowClock(node string, times int) error {
	return f.tell(f.pace(node), strconv.Itoa(times))
}

// slow is how many times too slow the node's clock runs, 1 for one that is right.
func (f Folder) slow(node string) int {
	text, err := os.ReadFile(f.pace(node))
	if err != nil {
		return 1
	}
	times, err := strconv.Atoi(string(text))
	if err != nil {
		return 1
	}
	return max(times, 1)
}
