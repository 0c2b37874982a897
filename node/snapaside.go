package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

// asidePrefix begins the names of snapshots that were set aside, in the data folder.
const asidePrefix = "damaged-snapshot-"

// setSnapshotsAside moves older snapshots whose meta.json can not be read out of the
// way. The library does not see those, so it never removes them, and every start would
// tell of them again. It is called when all were checked, so a newer one is whole.
func setSnapshotsAside(data string, log *slog.Logger) {
	folder := filepath.Join(data, snapshotsFolder)
	list, err := os.ReadDir(folder)
	if err != nil {
		return // there are none
	}
	for _, e := range list {
		if !e.IsDir() || strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		}
		from, to := filepath.Join(folder, e.Name()), filepath.Join(data, asidePrefix+e.Name())
		if _, inPlace, err := readSnapshotMeta(from, raft.SnapshotMeta{ID: e.Name()}); !inPlace || !errors.Is(err, ErrDamaged) {
			continue
		}
		if err := os.Rename(from, to); err != nil {
			log.Warn("a damaged snapshot can not be set aside", "snapshot", from, "error", err)
			continue
		}
		log.Warn("a damaged snapshot was set aside, as a newer one is whole; it may be removed", "snapshot", to)
	}
}
