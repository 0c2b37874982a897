package api

import (
	_ "embed"
	"io"
)

// Document is openapi.yaml: what this package promises.
//
//go:embed openapi.yaml
var Document []byte

func (s *Server) document(*call) (answer, error) {
	return streamed("application/yaml", func(w io.Writer) error {
		_, err := w.Write(Document)
		return err //nolint:wrapcheck // the caller wraps
	}), nil
}
