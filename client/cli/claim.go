package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/keystore"
)

// claim says whose folder it is. It is kept in keystore.PodUIDFile, in lines: the
// UID, namespace/pod, and, once there was an answer, the cluster and the highest
// fence that it gave. An answer of another cluster, or of an older fence, is refused
// by every later run: whoever answers may have been given an old state.
type claim struct {
	podUID, pod string
	cluster     string
	fence       int64
}

func (c claim) text() string {
	text := c.podUID + "\n" + c.pod + "\n"
	if c.cluster != "" {
		text += fmt.Sprintf("%s %d\n", c.cluster, c.fence)
	}
	return text
}

// claimed is a folder that was claimed for a pod.
type claimed struct {
	podUID  string // to ask with
	cluster string // which answered before; empty if none did
	fence   int64  // highest that it gave

	dir    string
	made   []string // folders made for it, outermost first
	before *claim   // what stood there; nil if nothing
	now    *claim   // what this run wrote; nil if it wrote nothing
}

// claimFolder returns the pod UID to ask with and writes down, before anybody is
// asked, that the folder is this pod's: were the UID forgotten, the next run would
// be another pod, and wait for ever for keys that the first one holds. A folder of
// another pod is refused, because what it holds cannot be among the answer. A given
// UID replaces the one kept: the replacement of a pod comes back to its volume.
func claimFolder(dir, namespace, pod, given string) (*claimed, error) {
	c := &claimed{dir: dir, made: missingFolders(dir)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	wanted := claim{podUID: given, pod: namespace + "/" + pod}
	kept, err := readClaim(dir)
	if err != nil {
		return nil, err
	}
	c.before = kept
	if kept == nil {
		if wanted.podUID == "" {
			wanted.podUID = uuid.NewString()
		}
		if kept, err = wanted.putFirst(dir); err != nil {
			return nil, fmt.Errorf("claim folder %s: %w", dir, err)
		}
		if *kept == wanted {
			c.now = &wanted
		}
	}
	if kept.pod != wanted.pod {
		return nil, fmt.Errorf("%w: %s is the folder of pod %s, not of %s: choose another folder", keystore.ErrOccupied, dir, kept.pod, wanted.pod)
	}
	c.podUID, c.cluster, c.fence = kept.podUID, kept.cluster, kept.fence
	if given == "" || given == kept.podUID {
		return c, nil
	}
	wanted.cluster, wanted.fence = kept.cluster, kept.fence
	if err := wanted.replace(dir); err != nil {
		return nil, fmt.Errorf("claim folder %s: %w", dir, err)
	}
	c.podUID, c.now = given, &wanted
	return c, nil
}

// answered writes down which cluster answered, and its fence.
func (c *claimed) answered(cluster string, fence int64) error {
	kept, err := readClaim(c.dir)
	if err != nil || kept == nil || kept.podUID != c.podUID || kept.cluster == cluster && kept.fence >= fence {
		return err // nothing to write, or another run's by now
	}
	kept.cluster, kept.fence = cluster, fence
	if err := kept.replace(c.dir); err != nil {
		return fmt.Errorf("write the fence down in %s: %w", c.dir, err)
	}
	return nil
}

// undo takes back what this run wrote down, when nothing was asked for. What cannot
// be taken back does no harm.
func (c *claimed) undo() {
	if c.now != nil {
		stands, err := readClaim(c.dir)
		switch {
		case err != nil || stands == nil || *stands != *c.now:
			// another run's by now
		case c.before != nil:
			_ = c.before.replace(c.dir)
		default:
			_ = os.Remove(filepath.Join(c.dir, keystore.PodUIDFile))
		}
	}
	for _, folder := range slices.Backward(c.made) {
		_ = os.Remove(folder) // only if it is empty
	}
}

// missingFolders lists which folders of a path are not there, outermost first.
func missingFolders(dir string) []string {
	var missing []string
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			slices.Reverse(missing)
			return missing
		}
		missing = append(missing, dir)
	}
}

// readClaim returns nil without an error if there is none.
func readClaim(dir string) (*claim, error) {
	name := filepath.Join(dir, keystore.PodUIDFile)
	raw, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // no claim is an ordinary answer
	}
	if err != nil {
		return nil, fmt.Errorf("read whose folder it is: %w", err)
	}
	c, ok := parseClaim(string(raw))
	if !ok {
		return nil, fmt.Errorf("%s is damaged: want a pod UID in its first line, namespace/pod in its second, and, if there is a third, cluster and fence", name)
	}
	return &c, nil
}

func parseClaim(text string) (claim, bool) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) < 2 || len(lines) > 3 || client.CheckPodUID(lines[0]) != nil || lines[1] == "" {
		return claim{}, false
	}
	c := claim{podUID: lines[0], pod: lines[1]}
	if len(lines) == 2 {
		return c, true
	}
	cluster, fence, _ := strings.Cut(lines[2], " ")
	n, err := strconv.ParseInt(fence, 10, 64)
	c.cluster, c.fence = cluster, n
	return c, err == nil && n >= 0 && cluster != ""
}

// putFirst writes the claim unless another run was quicker, and returns the one
// that stands.
func (c claim) putFirst(dir string) (*claim, error) {
	temporary, err := c.writeBeside(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(temporary) }()
	err = os.Link(temporary, filepath.Join(dir, keystore.PodUIDFile))
	if errors.Is(err, os.ErrExist) {
		return readClaim(dir)
	}
	if err != nil { // a file system without hard links
		err = os.Rename(temporary, filepath.Join(dir, keystore.PodUIDFile))
	}
	if err != nil {
		return nil, err
	}
	return &c, syncFolder(dir)
}

func (c claim) replace(dir string) error {
	temporary, err := c.writeBeside(dir)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, keystore.PodUIDFile)); err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return syncFolder(dir)
}

// writeBeside writes the claim to a temporary file, of which package keystore knows
// by its name that it is ours.
func (c claim) writeBeside(dir string) (string, error) {
	f, err := os.CreateTemp(dir, keystore.PodUIDFile+".tmp-*") // of mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(c.text())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// syncFolder makes names in a folder outlive a power cut.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
