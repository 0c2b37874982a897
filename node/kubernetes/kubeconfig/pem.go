package kubeconfig

import (
	"crypto/x509"
	"encoding/pem"
)

const certificateBlock = "CERTIFICATE"

// certificates keeps the certificates of a field in PEM and drops whatever stands
// between them. Blocks of another type are dropped only where they may be, as the key
// that some programs put beside the certificate.
func certificates(field string, data []byte, besides bool) (text []byte, first *x509.Certificate, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != certificateBlock {
			if besides {
				continue
			}
			return nil, nil, refuse(field, "it holds something else than certificates: only the authority's certificates belong there")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, refuse(field, "a certificate in it can not be read")
		}
		if first == nil {
			first = certificate
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: block.Bytes})...)
	}
	if first == nil {
		return nil, nil, refuse(field, "it is not a certificate in PEM (and base64 of that)")
	}
	return text, first, nil
}
