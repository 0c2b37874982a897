package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// user is who the process runs as: nobody who owns anything else.
const user = 65532

// content is what is in an image.
type content struct {
	binary  []byte
	roots   []byte // PEM; may be empty
	created time.Time
}

// entry is a file or, with a name that ends with a slash, a folder.
type entry struct {
	name  string
	mode  int64
	owner int
	data  []byte
}

// entries are in the order in which they are unpacked. Nothing but /tmp and the folder
// for data can be written by the process, and with a read-only root nothing at all.
func (c content) entries() []entry {
	list := []entry{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nkeysteward:x:65532:\n")},
		{name: "etc/nsswitch.conf", mode: 0o644, data: []byte("hosts: files dns\n")},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/:/sbin/nologin\nkeysteward:x:65532:65532:Keysteward:/var/lib/keysteward:/sbin/nologin\n")},
	}
	if len(c.roots) > 0 {
		list = append(list,
			entry{name: "etc/ssl/", mode: 0o755},
			entry{name: "etc/ssl/certs/", mode: 0o755},
			entry{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: c.roots},
		)
	}
	return append(list,
		entry{name: "keysteward", mode: 0o755, data: c.binary},
		entry{name: "tmp/", mode: 0o1777},
		entry{name: "var/", mode: 0o755},
		entry{name: "var/lib/", mode: 0o755},
		entry{name: "var/lib/keysteward/", mode: 0o700, owner: user},
	)
}

// layer is the content as a compressed tar archive.
func (c content) layer() (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range c.entries() {
		h := &tar.Header{
			Name: e.name, Mode: e.mode, Uid: e.owner, Gid: e.owner, Size: int64(len(e.data)),
			ModTime: c.created, Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return layer, nil
}
