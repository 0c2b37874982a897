package kubeconfig

import (
	"crypto/tls"
	"encoding/pem"
	"strings"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// readUser takes the credential from the user of the current context.
func readUser(u *clientcmdapi.AuthInfo) (*credential, error) {
	if err := checkUser(u); err != nil {
		return nil, err
	}
	secret := &credential{token: strings.TrimSpace(u.Token)}
	if strings.ContainsFunc(secret.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, refuse("user.token", "it has characters that no token has")
	}
	switch hasCertificate, hasKey := len(u.ClientCertificateData) > 0, len(u.ClientKeyData) > 0; {
	case hasCertificate && !hasKey:
		return nil, refuse("user.client-key-data", "it is missing, and the certificate is useless without")
	case !hasCertificate && hasKey:
		return nil, refuse("user.client-certificate-data", "it is missing, and the key is useless without")
	case !hasCertificate && secret.token == "":
		return nil, refuse("user", "it has no credential: embed a token, or client-certificate-data and client-key-data")
	case !hasCertificate:
		return secret, nil
	}
	var err error
	secret.certificate, secret.key, secret.notAfter, err = pair(u.ClientCertificateData, u.ClientKeyData)
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// checkUser refuses what a server must not do for a kubeconfig.
func checkUser(u *clientcmdapi.AuthInfo) error {
	const flatten = "embed it (kubectl config view --minify --flatten --raw)"
	const instead = "make a service account with a token, or a client certificate, and embed that"
	for _, no := range []struct {
		has           bool
		field, reason string
	}{
		{u.Exec != nil, "user.exec", "it would run a program on this server: " + instead},
		{u.AuthProvider != nil, "user.auth-provider", "Kubernetes no longer has such plug-ins: " + instead},
		{u.ClientCertificate != "", "user.client-certificate", "it would read a file of this server: " + flatten},
		{u.ClientKey != "", "user.client-key", "it would read a file of this server: " + flatten},
		{u.TokenFile != "", "user.tokenFile", "it would read a file of this server: embed what is in it as token"},
		{u.Username != "", "user.username", "Kubernetes no longer accepts passwords: " + instead},
		{u.Password != "", "user.password", "Kubernetes no longer accepts passwords: " + instead},
		{u.Impersonate != "", "user.as", "acting as somebody else is refused: give the credential of a user with the right permissions"},
		{u.ImpersonateUID != "", "user.as-uid", "acting as somebody else is refused: leave it out"},
		{len(u.ImpersonateGroups) > 0, "user.as-groups", "acting as somebody else is refused: leave it out"},
		{len(u.ImpersonateUserExtra) > 0, "user.as-user-extra", "acting as somebody else is refused: leave it out"},
	} {
		if no.has {
			return refuse(no.field, no.reason)
		}
	}
	return nil
}

// pair checks that certificate and key, both in PEM, belong together, and drops
// whatever else stands there.
func pair(certificate, key []byte) (cert, private []byte, notAfter time.Time, err error) {
	cert, leaf, err := certificates("user.client-certificate-data", certificate, true)
	if err != nil {
		return nil, nil, notAfter, err
	}
	if private = firstKey(key); private == nil {
		return nil, nil, notAfter, refuse("user.client-key-data", "it is not a private key in PEM (and base64 of that)")
	}
	_, err = tls.X509KeyPair(cert, private)
	if err != nil {
		// The error is not told, because nobody promises that it repeats no secret.
		return nil, nil, notAfter, refuse("user.client-key-data", "it is not the key of the certificate, or one of them can not be read (an encrypted key must be decrypted)")
	}
	return cert, private, leaf.NotAfter.UTC(), nil
}

// firstKey keeps the first private key of a text, as TLS does, without headers; nil if
// there is none. Elliptic ones often stand behind their curve's parameters.
func firstKey(text []byte) []byte {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY") {
			return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
		}
	}
	return nil
}
