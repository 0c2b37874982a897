package interchange

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/api/wire"
)

func mainnet(slot int64) wire.SlashingProtection {
	return wire.SlashingProtection{
		GenesisValidatorsRoot: "0x" + strings.Repeat("4b", 32), GenesisTime: 1_606_824_023, SecondsPerSlot: 12, SlotsPerEpoch: 32, Slot: slot,
	}
}

func at(slot int64) time.Time { return time.Unix(1_606_824_023+12*slot+5, 0) }

func TestFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		slot, now      int64
		want           string // slot source target
		earlierHolders bool
	}{
		"our clock is later":        {100, 200, "200 5 6", true},
		"the leader's is later":     {231, 200, "231 6 7", true},
		"nobody held it before":     {0, 200, "200 5 6", false},
		"the chain has not begun":   {0, -1000, "0 0 0", false},
		"the first epoch":           {0, 31, "31 0 0", false},
		"the leader's, just within": {232, 200, "232 6 7", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := Encode(mainnet(c.slot), []string{"0xaa", "0xbb"}, at(c.now))
			require.NoError(t, err)
			name := filepath.Join(t.TempDir(), "made", "slashing-protection.json")
			require.NoError(t, Write(name, data))
			info, err := os.Stat(name)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			entries, err := os.ReadDir(filepath.Dir(name))
			require.NoError(t, err)
			require.Len(t, entries, 1)

			var f struct {
				Metadata map[string]string
				Data     []struct {
					Pubkey       string
					SignedBlocks []map[string]string `json:"signed_blocks"`
					Attestations []map[string]string `json:"signed_attestations"`
				}
			}
			require.NoError(t, json.Unmarshal(data, &f))
			require.Equal(t, map[string]string{"interchange_format_version": "5", "genesis_validators_root": mainnet(0).GenesisValidatorsRoot}, f.Metadata)
			require.Len(t, f.Data, 2)
			want := strings.Fields(c.want)
			for i, key := range []string{"0xaa", "0xbb"} {
				require.Equal(t, key, f.Data[i].Pubkey)
				require.Equal(t, []map[string]string{{"slot": want[0]}}, f.Data[i].SignedBlocks)
				require.Equal(t, []map[string]string{{"source_epoch": want[1], "target_epoch": want[2]}}, f.Data[i].Attestations)
			}
		})
	}
}

func TestClockThatIsFarBehindIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Encode(mainnet(233), []string{"0xaa"}, at(200))
	require.ErrorIs(t, err, ErrClock)
	require.ErrorContains(t, err, "slot 233")
	_, err = Encode(wire.SlashingProtection{}, []string{"0xaa"}, at(200))
	require.ErrorContains(t, err, "which chain")
}

// Whatever an earlier holder signed by then, the watermark refuses what would be slashed.
func TestNothingSlashableIsLeft(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		proven, now := rapid.Int64Range(0, 1000).Draw(t, "proven"), rapid.Int64Range(0, 1000).Draw(t, "now")
		data, err := Encode(mainnet(proven), []string{"0xaa"}, at(now))
		if err != nil {
			require.ErrorIs(t, err, ErrClock)
			return
		}
		var f file
		require.NoError(t, json.Unmarshal(data, &f))
		mark := func(text string) (n int64) {
			require.NoError(t, json.Unmarshal([]byte(text), &n))
			return n
		}
		slot, source, target := mark(f.Data[0].Blocks[0].Slot), mark(f.Data[0].Attestations[0].Source), mark(f.Data[0].Attestations[0].Target)
		require.GreaterOrEqual(t, slot, proven)

		oldTarget := rapid.Int64Range(0, proven/32).Draw(t, "signed target")
		oldSource := rapid.Int64Range(0, max(0, oldTarget-1)).Draw(t, "signed source")
		newSource, newTarget := rapid.Int64Range(0, 40).Draw(t, "source"), rapid.Int64Range(0, 40).Draw(t, "target")
		if newSource < source || newTarget <= target || newSource > newTarget {
			return // refused (EIP-3076, conditions 4 and 5)
		}
		require.NotEqual(t, oldTarget, newTarget, "a double vote")
		require.False(t, newSource < oldSource && oldTarget < newTarget, "it surrounds")
		require.False(t, oldSource < newSource && newTarget < oldTarget, "it is surrounded")
	})
}
