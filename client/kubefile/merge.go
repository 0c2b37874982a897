package kubefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ErrTaken is wrapped when a name is taken by an entry of something else.
var ErrTaken = errors.New("the name is taken")

// Options say how to merge.
type Options struct {
	// Origin is the logical cloud that the kubeconfig is of.
	Origin Origin
	// Context is the name for the one context that there is; empty keeps the names.
	Context string
	// SetCurrent makes the kubeconfig's current context the current one.
	SetCurrent bool
	// Force replaces entries of something else that have the same names.
	Force bool
}

// Merged says what is true now.
type Merged struct {
	// Contexts are the names under which the clusters can be used, the kubeconfig's
	// current one first.
	Contexts []string
	// Files are those that were changed; none if everything was there already.
	Files []string
}

// Paths are the files that kubectl reads: those that the variable KUBECONFIG lists, or
// ~/.kube/config if it is empty.
func Paths(variable string) []string {
	var paths []string
	for _, path := range filepath.SplitList(variable) {
		if path != "" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return []string{clientcmd.RecommendedHomeFile}
	}
	return paths
}

// Merge adds the contexts of a kubeconfig to the files that kubectl reads. Context,
// cluster and user of each get one name, the context's, and the mark of their origin:
// by it a later Merge knows what it may replace. An entry of the same name without
// that mark is not touched, and the error wraps [ErrTaken].
//
// New entries go where kubectl would put them: into the first file that is there, else
// into the last; entries that are there already stay in their file. Symbolic links are
// followed. Files become of mode 0600.
func Merge(ctx context.Context, paths []string, text []byte, o Options) (Merged, error) {
	fresh, err := entries(text, o)
	if err != nil {
		return Merged{}, err
	}
	unlock, err := lock(ctx, paths)
	if err != nil {
		return Merged{}, err
	}
	defer unlock()
	files, err := openAll(paths)
	if err != nil {
		return Merged{}, err
	}
	var taken []string
	for _, e := range fresh {
		taken = append(taken, files.put(e, o.Force)...)
	}
	if len(taken) > 0 {
		return Merged{}, fmt.Errorf("%w: %s, not of logical cloud %s/%s", ErrTaken, strings.Join(taken, ", "), o.Origin.Project, o.Origin.Cloud)
	}
	merged := Merged{}
	for _, e := range fresh {
		merged.Contexts = append(merged.Contexts, e.name)
	}
	if o.SetCurrent {
		files.setCurrent(fresh[0].name)
	}
	merged.Files, err = files.save()
	return merged, err
}

// entry is a context with its cluster and user, all of one name.
type entry struct {
	name    string
	origin  Origin
	context *clientcmdapi.Context
	cluster *clientcmdapi.Cluster
	user    *clientcmdapi.AuthInfo
}

// entries takes a kubeconfig apart, its current context first.
func entries(text []byte, o Options) ([]entry, error) {
	config, err := clientcmd.Load(text)
	if err == nil {
		err = clientcmd.Validate(*config)
	}
	if err != nil {
		return nil, fmt.Errorf("the new kubeconfig: %w", err)
	}
	if o.Context != "" && len(config.Contexts) != 1 {
		return nil, fmt.Errorf("one name for %d contexts: choose one reference of the cloud", len(config.Contexts))
	}
	var list []entry
	for _, name := range slices.Sorted(maps.Keys(config.Contexts)) {
		c := config.Contexts[name]
		e := entry{name: name, origin: o.Origin, context: c, cluster: config.Clusters[c.Cluster], user: config.AuthInfos[c.AuthInfo].DeepCopy()}
		e.origin.Reference = c.Cluster
		if o.Context != "" {
			e.name = o.Context
		}
		c.Cluster, c.AuthInfo = e.name, e.name
		c.Extensions, e.cluster.Extensions, e.user.Extensions = e.origin.mark(), e.origin.mark(), e.origin.mark()
		if name == config.CurrentContext {
			list = slices.Insert(list, 0, e)
		} else {
			list = append(list, e)
		}
	}
	return list, nil
}

// file is one of those that kubectl reads.
type file struct {
	path   string
	info   os.FileInfo // nil if it is not there
	config *clientcmdapi.Config
	before []byte // as it would be written if nothing changed
}

type fileSet []*file

func openAll(paths []string) (fileSet, error) {
	var set fileSet
	for _, path := range paths {
		f, err := openFile(path)
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
		}
		set = append(set, f)
	}
	return set, nil
}

func openFile(path string) (*file, error) {
	f := &file{path: path, config: clientcmdapi.NewConfig()}
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return nil, errors.New("it is a symbolic link to nothing")
		}
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	f.path = target
	if f.info, err = os.Stat(target); err != nil {
		return nil, err
	}
	if !f.info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if f.config, err = clientcmd.LoadFromFile(target); err != nil {
		return nil, err
	}
	f.before, err = clientcmd.Write(*f.config)
	return f, err
}

// put adds an entry, and names what is in its way.
func (s fileSet) put(e entry, force bool) (taken []string) {
	try := func(kind string, has func(*clientcmdapi.Config) (map[string]runtime.Object, bool), set func(*clientcmdapi.Config)) {
		at := s.fallback()
		for _, f := range s {
			extensions, found := has(f.config)
			if !found {
				continue
			}
			if at = f; !force && !e.origin.made(extensions) {
				taken = append(taken, fmt.Sprintf("%s %q of %s", kind, e.name, f.path))
				return
			}
			break
		}
		set(at.config)
	}
	try("context", func(c *clientcmdapi.Config) (map[string]runtime.Object, bool) {
		old, found := c.Contexts[e.name]
		return extensionsOf(old, func(o *clientcmdapi.Context) map[string]runtime.Object { return o.Extensions }), found
	}, func(c *clientcmdapi.Config) { c.Contexts[e.name] = e.context })
	try("cluster", func(c *clientcmdapi.Config) (map[string]runtime.Object, bool) {
		old, found := c.Clusters[e.name]
		return extensionsOf(old, func(o *clientcmdapi.Cluster) map[string]runtime.Object { return o.Extensions }), found
	}, func(c *clientcmdapi.Config) { c.Clusters[e.name] = e.cluster })
	try("user", func(c *clientcmdapi.Config) (map[string]runtime.Object, bool) {
		old, found := c.AuthInfos[e.name]
		return extensionsOf(old, func(o *clientcmdapi.AuthInfo) map[string]runtime.Object { return o.Extensions }), found
	}, func(c *clientcmdapi.Config) { c.AuthInfos[e.name] = e.user })
	return taken
}

// extensionsOf is nil for an entry that is null.
func extensionsOf[T any](entry *T, of func(*T) map[string]runtime.Object) map[string]runtime.Object {
	if entry == nil {
		return nil
	}
	return of(entry)
}

// fallback is where kubectl puts what is new.
func (s fileSet) fallback() *file {
	for _, f := range s {
		if f.info != nil {
			return f
		}
	}
	return s[len(s)-1]
}

// setCurrent changes the file whose word kubectl takes.
func (s fileSet) setCurrent(name string) {
	for _, f := range s {
		if f.config.CurrentContext != "" {
			f.config.CurrentContext = name
			return
		}
	}
	s.fallback().config.CurrentContext = name
}

// save writes the files that changed.
func (s fileSet) save() (changed []string, err error) {
	for _, f := range s {
		after, err := clientcmd.Write(*f.config)
		if err != nil {
			return changed, fmt.Errorf("kubeconfig %s: %w", f.path, err)
		}
		if bytes.Equal(after, f.before) || f.before == nil && clientcmdapi.IsConfigEmpty(f.config) {
			continue
		}
		if err := replace(f.path, after, f.info); err != nil {
			return changed, fmt.Errorf("kubeconfig %s: %w", f.path, err)
		}
		changed = append(changed, f.path)
	}
	return changed, nil
}
