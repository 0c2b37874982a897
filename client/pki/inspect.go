package pki

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Found is a certificate in a file.
type Found struct {
	File     string    `json:"file"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	Serial   string    `json:"serial"`
	Hosts    []string  `json:"hosts"`
	Uses     []string  `json:"uses"` // server, client, authority
	NotAfter time.Time `json:"notAfter"`
	State    string    `json:"state"` // valid, expired, not valid yet
}

// Inspect reads the certificates of a PEM file, or of the files *.crt and *.pem in a
// folder and below. Keys are not read.
func Inspect(path string, now time.Time) ([]Found, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at certificates: %w", err)
	}
	if !info.IsDir() {
		return inspectFile(path, now)
	}
	var list []Found
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if ext := filepath.Ext(file); err != nil || entry.IsDir() || ext != ".crt" && ext != ".pem" {
			return err
		}
		found, err := inspectFile(file, now)
		list = append(list, found...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at certificates: %w", err)
	}
	return list, nil
}

func inspectFile(path string, now time.Time) ([]Found, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("look at certificates: %w", err)
	}
	defer clear(text) // there may be a key in it
	var list []Found
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("look at certificates: %s: %w", path, err)
		}
		list = append(list, describe(path, c, now))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("look at certificates: %s holds none (PEM)", path)
	}
	return list, nil
}

func describe(path string, c *x509.Certificate, now time.Time) Found {
	f := Found{
		File: path, Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: fmt.Sprintf("%x", c.SerialNumber),
		Hosts: slices.Clone(c.DNSNames), NotAfter: c.NotAfter.UTC(), State: "valid",
	}
	for _, ip := range c.IPAddresses {
		f.Hosts = append(f.Hosts, ip.String())
	}
	if c.IsCA {
		f.Uses = append(f.Uses, "authority")
	}
	for _, use := range c.ExtKeyUsage {
		switch use { //nolint:exhaustive // the others are not for us
		case x509.ExtKeyUsageServerAuth:
			f.Uses = append(f.Uses, "server")
		case x509.ExtKeyUsageClientAuth:
			f.Uses = append(f.Uses, "client")
		}
	}
	switch {
	case now.After(c.NotAfter):
		f.State = "expired"
	case now.Before(c.NotBefore):
		f.State = "not valid yet"
	}
	return f
}
