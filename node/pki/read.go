package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ErrFiles is wrapped by every error about certificate files: missing, malformed,
// open to everybody, or not fitting each other.
var ErrFiles = errors.New("certificate files")

const (
	worldAccess  = 0o007
	maxFileBytes = 1 << 20
)

// Files are the paths of PEM files.
type Files struct {
	// Cert holds the certificate of this node, and what is between it and its authority.
	Cert string
	// Key is the private key of the certificate; only owner and group may have access.
	Key string
	// CA holds the authorities that vouch for the other side; empty if nobody does.
	CA string
}

// Material is what was read from the files at one time. It does not change.
type Material struct {
	// Certificate is this node's, with its Leaf.
	Certificate tls.Certificate
	// Authorities vouch for the other side; nil without a CA file.
	Authorities *x509.CertPool

	chain       []*x509.Certificate // of Certificate, the leaf first
	authorities []*x509.Certificate
}

// read reads the files and checks that they fit each other.
func (f Files) read() (*Material, error) {
	certificate, err := readFile(f.Cert, 0)
	if err != nil {
		return nil, err
	}
	key, err := readFile(f.Key, worldAccess)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	m := &Material{}
	if m.Certificate, err = tls.X509KeyPair(certificate, key); err != nil {
		return nil, fmt.Errorf("%w: %s and %s: %w", ErrFiles, f.Cert, f.Key, err)
	}
	for _, der := range m.Certificate.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrFiles, f.Cert, err)
		}
		m.chain = append(m.chain, c)
	}
	m.Certificate.Leaf = m.chain[0]
	if f.CA == "" {
		return m, nil
	}
	bundle, err := readFile(f.CA, 0)
	if err != nil {
		return nil, err
	}
	if m.authorities, err = parseBundle(bundle); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFiles, f.CA, err)
	}
	m.Authorities = x509.NewCertPool()
	for _, c := range m.authorities {
		m.Authorities.AddCert(c)
	}
	return m, nil
}

// parseBundle reads certificates, and nothing else, one after the other. A bundle
// of which a part can not be read is refused: who trusts half of it trusts the wrong half.
func parseBundle(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a PEM block %q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list)+1, err)
		}
		if !c.IsCA {
			return nil, fmt.Errorf("certificate %d (%s) is not that of an authority", len(list)+1, c.Subject)
		}
		list = append(list, c)
	}
	if len(list) == 0 || len(bytes.TrimSpace(text)) > 0 && bytes.Contains(text, []byte("-----BEGIN")) {
		return nil, errors.New("it holds no PEM certificate, or a broken one")
	}
	return list, nil
}

// readFile reads a small regular file whose mode has none of the forbidden bits.
func readFile(path string, forbidden os.FileMode) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not make the node wait
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFiles, err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFiles, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrFiles, path)
	case info.Mode().Perm()&forbidden != 0:
		return nil, fmt.Errorf("%w: %s: mode %v lets everybody in (chmod o= %s)", ErrFiles, path, info.Mode().Perm(), path)
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrFiles, path, maxFileBytes)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFiles, path, err)
	}
	return content, nil
}

// look is what tells that a file was replaced, without reading it.
func (f Files) look() string {
	var seen bytes.Buffer
	for _, path := range []string{f.Cert, f.Key, f.CA} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&seen, "%v;", err)
			continue
		}
		var inode uint64
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = s.Ino
		}
		fmt.Fprintf(&seen, "%d %v %d %d;", inode, info.Mode(), info.Size(), info.ModTime().UnixNano())
	}
	return seen.String()
}
