package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// clusterFile holds the ID of the cluster that a node belongs to and, while it is on
// its way in, the word joining behind it. A log alone does not tell: what is in it may
// not be applied yet. It is written before anybody is asked to add the node. So a node
// that has a log and is no member can be told apart: with the word it was not let in
// yet, without it was removed.
const clusterFile = "cluster"

const joiningWord = " joining"

// belonging is what the file says.
type belonging struct {
	mu      sync.Mutex
	cluster string
	joining bool
}

var clusterIDText = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

// errClusterID says that a text is no cluster's ID.
var errClusterID = errors.New("not a cluster's ID")

func (f *folder) readCluster() error {
	path := filepath.Join(f.path, clusterFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cluster of the node: %w", err)
	}
	text, joining := strings.CutSuffix(strings.TrimSpace(string(b)), joiningWord)
	if !clusterIDText.MatchString(text) {
		return fmt.Errorf("%w: %s: %w. %s", ErrDamaged, path, errClusterID, wayOut(f.path))
	}
	f.belongs.cluster, f.belongs.joining = text, joining
	return nil
}

// write replaces what the file says, if that is news.
func (f *folder) write(cluster string, joining bool) error {
	b := &f.belongs
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cluster == cluster && b.joining == joining {
		return nil
	}
	path, text := filepath.Join(f.path, clusterFile), cluster+"\n"
	if joining {
		text = cluster + joiningWord + "\n"
	}
	var err error
	if cluster == "" {
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = writeDurably(path, []byte(text))
	}
	if err != nil {
		return fmt.Errorf("remember the cluster of the node: %w", err)
	}
	b.cluster, b.joining = cluster, joining
	return nil
}

func (f *folder) read() (cluster string, joining bool) {
	f.belongs.mu.Lock()
	defer f.belongs.mu.Unlock()
	return f.belongs.cluster, f.belongs.joining
}

// ClusterID is the ID of the cluster that the node belongs to or is on its way into,
// as far as it knows; empty for a new node, and for one of a cluster that has not
// begun. It is known before the log was applied.
func (n *Node) ClusterID() string {
	if id := n.View().Meta().GetClusterId(); id != "" {
		return id
	}
	id, _ := n.folder.read()
	return id
}

// Joining tells whether the node is on its way into the cluster: it asked, and does not
// vote yet.
func (n *Node) Joining() bool {
	_, joining := n.folder.read()
	return joining
}

// Join remembers, past restarts, which cluster the node is on its way into.
func (n *Node) Join(clusterID string) error {
	if !clusterIDText.MatchString(clusterID) {
		return fmt.Errorf("join %.100q: %w", clusterID, errClusterID)
	}
	return n.folder.write(clusterID, true)
}

// Joined remembers that the node votes in its cluster, so it is on its way no more.
func (n *Node) Joined() error { return n.folder.write(n.ClusterID(), false) }
