package client

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// ErrCertificate is wrapped by errors about a caller's certificate or its key.
var ErrCertificate = errors.New("unusable client certificate")

// checkCertificate finds early what would fail with every connection.
func (c *Client) checkCertificate() error {
	cert, key := c.config.CertFile, c.config.KeyFile
	switch {
	case cert == "" && key == "":
		return nil
	case cert == "" || key == "":
		return fmt.Errorf("%w: certificate and key go together", ErrCertificate)
	}
	for _, server := range c.servers {
		if server.Scheme != schemeHTTPS {
			return fmt.Errorf("%w: %s: nobody can show a certificate without https", ErrServer, origin(server))
		}
	}
	_, err := readCertificate(cert, key)
	return err
}

func readCertificate(cert, key string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("%w: %s and %s: %w", ErrCertificate, cert, key, err)
	}
	return pair, nil
}
