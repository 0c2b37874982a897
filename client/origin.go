package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// ErrServer is wrapped by errors about a malformed or forbidden server URL.
var ErrServer = errors.New("unusable server URL")

const (
	schemeHTTP  = "http"
	schemeHTTPS = "https"
)

// parseServer reads the base URL of a server and refuses one that credentials must
// not be sent to.
func parseServer(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		// The error of url.Parse repeats the text, which may hold a password.
		return nil, fmt.Errorf("%w: it does not parse; want something like https://node-1:8443", ErrServer)
	}
	if u.User != nil {
		return nil, fmt.Errorf("%w: %s: it holds a user name; use a token file", ErrServer, u.Host)
	}
	if err := checkTarget(u); err != nil {
		return nil, err
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %s: it has a query or a fragment", ErrServer, origin(u))
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = strings.TrimSuffix(u.RawPath, "/")
	return u, nil
}

// checkTarget refuses every URL but https, and http to loopback.
func checkTarget(u *url.URL) error {
	switch {
	case u.Scheme != schemeHTTP && u.Scheme != schemeHTTPS || u.Opaque != "":
		return fmt.Errorf("%w: %q: want https://host:port, or http://127.0.0.1:port", ErrServer, u.Redacted())
	case u.Hostname() == "":
		return fmt.Errorf("%w: %q names no host", ErrServer, u.Redacted())
	case u.Scheme == schemeHTTP && !isLoopback(u.Hostname()):
		return fmt.Errorf("%w: %s: plain http would send the token in the clear; it is accepted for loopback only, use https", ErrServer, origin(u))
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// origin is scheme, host and port in one spelling (RFC 6454).
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{schemeHTTP: "80", schemeHTTPS: "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
