package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

func (f Folder) words(node string) string { return filepath.Join(string(f), node+".words") }

// HoldWords has whatever the node means to hand to Raft wait, as under a scheduler that
// runs other things first, until LetGo. Raft itself goes on.
func (f Folder) HoldWords(node string) error { return f.tell(f.words(node), "") }

// LetGo ends what HoldWords began.
func (f Folder) LetGo(node string) error {
	if err := os.Remove(f.words(node)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("let the words of %s go: %w", node, err)
	}
	return nil
}

// hand returns when the node may hand something to Raft.
func (f Folder) hand(node string) {
	for {
		if _, err := os.Lstat(f.words(node)); err != nil {
			return
		}
		time.Sleep(lookAgain)
	}
}
