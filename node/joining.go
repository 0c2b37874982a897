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

// joiningFile holds the ID of the cluster that a node wants to be let into. It is
// written before anybody is asked to add the node and removed once the node votes. So
// a node that has a log and is no member can be told apart: with the file it is on
// its way in, without it was removed.
const joiningFile = "joining"

// joins is what the file says.
type joins struct {
	mu      sync.Mutex
	cluster string
}

var clusterIDText = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

// errClusterID says that a text is no cluster's ID.
var errClusterID = errors.New("not a cluster's ID")

func (f *folder) readJoins() error {
	b, err := os.ReadFile(filepath.Join(f.path, joiningFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cluster to join: %w", err)
	}
	f.joins.cluster = strings.TrimSpace(string(b))
	if !clusterIDText.MatchString(f.joins.cluster) {
		return fmt.Errorf("%s: %w", filepath.Join(f.path, joiningFile), errClusterID)
	}
	return nil
}

// Joining is the ID of the cluster that the node is on its way into, empty if there
// is none.
func (n *Node) Joining() string {
	n.folder.joins.mu.Lock()
	defer n.folder.joins.mu.Unlock()
	return n.folder.joins.cluster
}

// Join remembers, past restarts, which cluster the node is on its way into.
func (n *Node) Join(clusterID string) error {
	if !clusterIDText.MatchString(clusterID) {
		return fmt.Errorf("join %.100q: %w", clusterID, errClusterID)
	}
	j := &n.folder.joins
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cluster == clusterID {
		return nil
	}
	if err := writeDurably(filepath.Join(n.folder.path, joiningFile), []byte(clusterID+"\n")); err != nil {
		return fmt.Errorf("remember the cluster to join: %w", err)
	}
	j.cluster = clusterID
	return nil
}

// Joined says that the node has become part of a cluster, by being let in or by
// founding it: it is on its way no more.
func (n *Node) Joined() error {
	j := &n.folder.joins
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cluster == "" {
		return nil
	}
	err := os.Remove(filepath.Join(n.folder.path, joiningFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the cluster to join: %w", err)
	}
	j.cluster = ""
	return syncFolder(n.folder.path)
}
