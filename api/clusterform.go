package api

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"time"

	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

const (
	// maxKubeconfig is of a file in base64, with its line breaks.
	maxKubeconfig = kubeconfig.MaxSize * 3 / 2
	// maxFormMetadata is more than the longest metadata in JSON, escapes and all.
	maxFormMetadata = 32 << 10
)

// clusterForm is what is sent to register a Kubernetes cluster.
type clusterForm struct {
	// metadata is an object that has the member "metadata".
	metadata *jsonObject
	// file is a secret, that whoever reads the form clears.
	file []byte
}

// readClusterForm reads multipart/form-data (RFC 7578) with exactly the parts
// "metadata" and "file", within the bounds of every body.
func readClusterForm(w http.ResponseWriter, r *http.Request) (clusterForm, error) {
	if r.ContentLength == 0 {
		return clusterForm{}, newProblem(malformedBody, "the body is empty: want multipart/form-data with the parts metadata and file")
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" {
		p := newProblem(unsupportedMedia, "want Content-Type: multipart/form-data")
		p.field = "Content-Type"
		return clusterForm{}, p
	}
	if params["boundary"] == "" {
		return clusterForm{}, badField("Content-Type", "it names no boundary")
	}
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(time.Now().Add(bodyTimeout))
	form, err := readParts(multipart.NewReader(http.MaxBytesReader(w, r.Body, maxBody), params["boundary"]))
	if err == nil {
		_ = deadlines.SetReadDeadline(time.Time{})
	}
	return form, err
}

// readParts reads the parts in any order.
func readParts(parts *multipart.Reader) (form clusterForm, err error) {
	defer func() {
		if err != nil {
			clear(form.file)
		}
	}()
	var metadata []byte
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return form, brokenForm(err)
		}
		switch name := part.FormName(); {
		case name == "metadata" && metadata == nil:
			metadata, err = readPart(part, name, maxFormMetadata)
		case name == "file" && form.file == nil:
			form.file, err = readPart(part, name, maxKubeconfig)
		case slices.Contains([]string{"metadata", "file"}, name):
			err = badField(name, "given twice")
		default:
			err = badField(fieldName(name), "unknown part: want metadata and file")
		}
		if err != nil {
			return form, err
		}
	}
	switch {
	case metadata == nil:
		return form, badField("metadata", "the part is missing: want the metadata in JSON")
	case form.file == nil:
		return form, badField("file", "the part is missing: want a kubeconfig")
	}
	form.metadata, err = metadataPart(metadata)
	return form, err
}

// metadataPart reads {"metadata":{"name":…}}, or what is inside alone.
func metadataPart(text []byte) (*jsonObject, error) {
	o, err := parseObject(text)
	if err != nil {
		return nil, err
	}
	if _, wrapped := o.members["metadata"]; wrapped {
		return o, nil
	}
	return parseObject(slices.Concat([]byte(`{"metadata":`), text, []byte(`}`)))
}

// readPart is not nil where there is no error.
func readPart(part io.Reader, name string, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(part, most+1))
	switch {
	case err != nil:
		clear(data)
		return nil, brokenForm(err)
	case int64(len(data)) > most:
		clear(data)
		p := newProblem(bodyTooLarge, "%s has more than %d bytes", name, most)
		p.field = name
		return nil, p
	case data == nil:
		return []byte{}, nil
	}
	return data, nil
}

func brokenForm(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return newProblem(bodyTooLarge, "the body has more than %d bytes", tooLarge.Limit)
	}
	return newProblem(malformedBody, "the body is not multipart/form-data, or ended early")
}
