package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

// program is the smallest file that is an ELF program with one segment.
func program(t *testing.T, machine elf.Machine, segment elf.ProgType) string {
	t.Helper()
	var file bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64, Phoff: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{Type: uint32(segment)},
	} {
		require.NoError(t, binary.Write(&file, binary.LittleEndian, part))
	}
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, file.Bytes(), 0o600))
	return path
}

// build runs the command with these flags.
func build(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func certificates(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "roots.crt")
	require.NoError(t, os.WriteFile(path, []byte("public authorities"), 0o600))
	return path
}

func TestImageHasWhatAProcessNeedsAndNothingElse(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	said, err := build(t, "--out", out, "--binary", "amd64="+program(t, elf.EM_X86_64, elf.PT_LOAD), "--tag", "keysteward:dev,keysteward:v1",
		"--version", "v1", "--revision", "abc", "--created", "1700000000", "--certificates", certificates(t))
	require.NoError(t, err)
	require.Contains(t, said, "keysteward-amd64.tar")

	tag, err := name.NewTag("keysteward:v1")
	require.NoError(t, err)
	img, err := tarball.ImageFromPath(filepath.Join(out, "keysteward-amd64.tar"), &tag)
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))
	file, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "65532:65532", file.Config.User)
	require.Equal(t, []string{"/keysteward"}, file.Config.Entrypoint)
	require.Equal(t, "linux/amd64", file.OS+"/"+file.Architecture)
	require.Equal(t, int64(1_700_000_000), file.Created.Unix())
	require.Equal(t, "v1", file.Config.Labels["org.opencontainers.image.version"])
	require.Equal(t, "abc", file.Config.Labels["org.opencontainers.image.revision"])

	type shown struct {
		mode  int64
		owner int
	}
	require.Equal(t, map[string]shown{
		"etc/": {0o755, 0}, "etc/group": {0o644, 0}, "etc/nsswitch.conf": {0o644, 0}, "etc/passwd": {0o644, 0},
		"etc/ssl/": {0o755, 0}, "etc/ssl/certs/": {0o755, 0}, "etc/ssl/certs/ca-certificates.crt": {0o644, 0},
		"keysteward": {0o755, 0}, "tmp/": {0o1777, 0},
		"var/": {0o755, 0}, "var/lib/": {0o755, 0}, "var/lib/keysteward/": {0o700, 65532},
	}, list(t, img, func(h *tar.Header) shown {
		require.Equal(t, int64(1_700_000_000), h.ModTime.Unix(), h.Name)
		require.Equal(t, h.Uid, h.Gid, h.Name)
		return shown{h.Mode, h.Uid}
	}))
}

// list shows all entries of the one layer.
func list[T any](t *testing.T, img v1.Image, show func(*tar.Header) T) map[string]T {
	t.Helper()
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	stream, err := layers[0].Uncompressed()
	require.NoError(t, err)
	defer func() { _ = stream.Close() }()
	all := map[string]T{}
	for r := tar.NewReader(stream); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all[h.Name] = show(h)
	}
}

func TestTheSameInputMakesTheSameBytes(t *testing.T) {
	t.Parallel()
	binary, roots := program(t, elf.EM_X86_64, elf.PT_LOAD), certificates(t)
	once := func() map[string]string {
		out := t.TempDir()
		// Names were written in an order of chance, so several, and more than two builds.
		_, err := build(t, "--out", out, "--binary", "amd64="+binary, "--tag", "keysteward:a,keysteward:b,keysteward:c,keysteward:d", "--certificates", roots, "--created", "1")
		require.NoError(t, err)
		files := map[string]string{}
		folder := os.DirFS(out)
		require.NoError(t, fs.WalkDir(folder, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := fs.ReadFile(folder, path)
			files[path] = string(data)
			return err
		}))
		return files
	}
	first := once()
	require.Contains(t, first, "keysteward-amd64.tar")
	for range 5 {
		require.Equal(t, first, once())
	}
}

func TestLayoutOfAllArchitectures(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	_, err := build(t, "--out", out, "--tag", "keysteward:dev",
		"--binary", "amd64="+program(t, elf.EM_X86_64, elf.PT_LOAD), "--binary", "arm64="+program(t, elf.EM_AARCH64, elf.PT_LOAD))
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(out, "keysteward-arm64.tar"))

	folder, err := layout.ImageIndexFromPath(filepath.Join(out, "oci"))
	require.NoError(t, err)
	top, err := folder.IndexManifest()
	require.NoError(t, err)
	require.Len(t, top.Manifests, 1)
	require.Equal(t, "keysteward:dev", top.Manifests[0].Annotations[refNameAnnotation])
	index, err := folder.ImageIndex(top.Manifests[0].Digest)
	require.NoError(t, err)
	require.NoError(t, validate.Index(index))
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
	}
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, platforms)
}

func TestWhatCannotRunIsRefused(t *testing.T) {
	t.Parallel()
	good := program(t, elf.EM_X86_64, elf.PT_LOAD)
	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600))
	tests := []struct{ name, binary, tag, says string }{
		{"dynamic", "amd64=" + program(t, elf.EM_X86_64, elf.PT_INTERP), "keysteward:dev", "linked dynamically"},
		{"another machine", "arm64=" + good, "keysteward:dev", "not for arm64"},
		{"unknown machine", "riscv64=" + good, "keysteward:dev", "amd64, arm64"},
		{"no program", "amd64=" + script, "keysteward:dev", "no program for Linux"},
		{"no file", "amd64=/nowhere", "keysteward:dev", "/nowhere"},
		{"no architecture", good, "keysteward:dev", "want ARCH=FILE"},
		{"bad tag", "amd64=" + good, "keysteward:a b", "--tag"},
		{"no tag", "amd64=" + good, "", "are required"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--out", t.TempDir(), "--binary", test.binary}
			if test.tag != "" {
				args = append(args, "--tag", test.tag)
			}
			_, err := build(t, args...)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestWithoutCertificatesOfPublicAuthorities(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	_, err := build(t, "--out", out, "--binary", "amd64="+program(t, elf.EM_X86_64, elf.PT_LOAD), "--tag", "keysteward:dev", "--certificates", "/nowhere")
	require.NoError(t, err)
	img, err := tarball.ImageFromPath(filepath.Join(out, "keysteward-amd64.tar"), nil)
	require.NoError(t, err)
	require.NotContains(t, list(t, img, func(h *tar.Header) int64 { return h.Size }), "etc/ssl/")
}
