package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// refNameAnnotation names an image in the index of a layout (OCI image layout).
const refNameAnnotation = "org.opencontainers.image.ref.name"

func parseTags(texts []string) ([]name.Tag, error) {
	tags := make([]name.Tag, len(texts))
	for i, text := range texts {
		var err error
		if tags[i], err = name.NewTag(text); err != nil {
			return nil, fmt.Errorf("--tag: %w", err)
		}
	}
	return tags, nil
}

// writeDocker writes a docker archive and returns its SHA-256 in hex.
func writeDocker(path string, img v1.Image, tags []name.Tag) (string, error) {
	files, err := dockerFiles(img, tags)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Typeflag: tar.TypeReg}); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	sum := sha256.Sum256(archive.Bytes())
	return hex.EncodeToString(sum[:]), replace(path, archive.Bytes())
}

// dockerFiles are what is in a docker archive. go-containerregistry could write one
// itself, but names an image with several tags in an order of chance.
func dockerFiles(img v1.Image, tags []name.Tag) ([]entry, error) {
	refs := make(map[name.Reference]v1.Image, len(tags))
	for _, tag := range tags {
		refs[tag] = img
	}
	manifest, err := tarball.ComputeManifest(refs)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	slices.Sort(manifest[0].RepoTags)
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("layers: %w", err)
	}
	files := []entry{{name: manifest[0].Config, data: config}}
	for i, layer := range layers {
		data, err := compressed(layer)
		if err != nil {
			return nil, err
		}
		files = append(files, entry{name: manifest[0].Layers[i], data: data})
	}
	index, err := json.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return append(files, entry{name: "manifest.json", data: index}), nil
}

func compressed(layer v1.Layer) ([]byte, error) {
	r, err := layer.Compressed()
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return data, nil
}

// replace makes the file appear whole.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // images hold no secrets
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil { //nolint:gosec // images hold no secrets
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeLayout writes an OCI image layout: one index of all architectures, under each
// of the tags. What was in the folder before is gone. It returns the index's digest.
func writeLayout(path string, images []v1.Image, tags []name.Tag) (v1.Hash, error) {
	index, err := indexOf(images)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := os.RemoveAll(path); err != nil {
		return v1.Hash{}, fmt.Errorf("%s: %w", path, err)
	}
	folder, err := layout.Write(path, empty.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, tag := range tags {
		named := layout.WithAnnotations(map[string]string{refNameAnnotation: tag.String()})
		if err := folder.AppendIndex(index, named); err != nil {
			return v1.Hash{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	return index.Digest() //nolint:wrapcheck // computed from what is in memory
}

// indexOf is the image index of images for different architectures.
func indexOf(images []v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		file, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: file.OS, Architecture: file.Architecture}},
		})
	}
	return index, nil
}
