package pki

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzBundle: whatever is in a file of authorities, what was accepted is authorities,
// and at least one.
func FuzzBundle(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte(`-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIRAL0q8uQTBu9GXBoTiTRBn7EwCgYIKoZIzj0EAwIwEjEQ
-----END CERTIFICATE-----
`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseBundle(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, list)
		for _, c := range list {
			require.True(t, c.IsCA)
		}
	})
}
