package keystore

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSlashingProtectionBesideKeys writes keys where the file of `allocate --slashing-protection` lies
// already: it has to be there first.
func TestSlashingProtectionBesideKeys(t *testing.T) {
	t.Parallel()
	const protection = `{"metadata":{"interchange_format_version":"5","genesis_validators_root":"0x00"},"data":[]}`
	for name, test := range map[string]struct {
		layout   Layout
		content  string
		occupied bool
	}{
		"keys are in folders below":       {Lighthouse, protection, false},
		"keys are beside it":              {Teku, protection, true}, // Teku would read it as one
		"not one":                         {Lighthouse, `{"metadata":{}}`, true},
		"no JSON":                         {Lighthouse, `slashing`, true},
		"a keystore that calls itself so": {Lighthouse, `{"metadata":{"interchange_format_version":"5"},"crypto":{}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, keys := t.TempDir(), testKeys(t, 2)
			put(t, filepath.Join(dir, "slashing-protection.json"), test.content)
			_, err := Write(t.Context(), dir, test.layout, keys, cheapOptions())
			if test.occupied {
				require.ErrorIs(t, err, ErrOccupied)
				return
			}
			require.NoError(t, err)
			has, err := Check(dir, test.layout)
			require.NoError(t, err)
			require.Len(t, has, len(keys))
		})
	}
}
