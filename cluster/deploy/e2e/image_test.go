//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
)

const box = "localhost/box:1"

// program is keysteward as it is in the image: it needs no library.
func (s *site) program() string {
	return filepath.Join(s.root, "bin/image/keysteward-"+runtime.GOARCH)
}

// loadBox makes an image with a shell and keysteward in it, for what plays a validator.
func (s *site) loadBox(t *testing.T) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	require.NoError(t, err)
	layer := &bytes.Buffer{}
	files := tar.NewWriter(layer)
	for path, from := range map[string]string{"bin/busybox": busybox, "bin/keysteward": s.program()} {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, files.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(content))}))
		_, err = files.Write(content)
		require.NoError(t, err)
	}
	for _, applet := range []string{"sh", "sleep", "cat", "ls", "date", "echo", "test", "grep"} {
		link := &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}
		require.NoError(t, files.WriteHeader(link))
	}
	require.NoError(t, files.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp", Mode: 0o1777}))
	require.NoError(t, files.Close())

	only, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	})
	require.NoError(t, err)
	image, err := mutate.AppendLayers(empty.Image, only)
	require.NoError(t, err)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux",
		Config: v1.Config{Env: []string{"PATH=/bin"}, User: "65532"},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{must(only.DiffID())}},
	})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "box.tar")
	require.NoError(t, tarball.WriteToFile(path, must(name.NewTag(box)), image))
	s.run(t, "scripts/node", "load", s.dir, path)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
