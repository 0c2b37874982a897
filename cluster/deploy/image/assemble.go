package main

import (
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// description is what an image says of itself.
type description struct {
	arch, version, revision string
	created                 time.Time
}

// labels are the predefined annotation keys of the OCI image specification.
func (d description) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":       "keysteward",
		"org.opencontainers.image.description": "Hands out validator keys and certificates, and never one twice",
		"org.opencontainers.image.source":      "https://github.com/keysteward/keysteward",
		"org.opencontainers.image.version":     d.version,
		"org.opencontainers.image.created":     d.created.Format(time.RFC3339),
	}
	if d.revision != "" {
		labels["org.opencontainers.image.revision"] = d.revision
	}
	return labels
}

// assemble makes an OCI image of one layer on nothing.
func assemble(c content, d description) (v1.Image, error) {
	layer, err := c.layer()
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{
		Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: v1.Time{Time: d.created}, CreatedBy: "cluster/deploy/image", Comment: d.version},
	})
	if err != nil {
		return nil, fmt.Errorf("append the layer: %w", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", d.arch, v1.Time{Time: d.created}
	file.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", user, user),
		Entrypoint: []string{"/keysteward"},
		Env:        []string{"PATH=/"},
		WorkingDir: "/",
		Labels:     d.labels(),
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return img, nil
}
