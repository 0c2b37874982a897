package beacon

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
)

// refusing refuses a question with any of the bad keys.
func refusing(status int, bad ...[]byte) func(*server) {
	return func(s *server) {
		s.refuse = func(ids []string) int {
			if slices.ContainsFunc(bad, func(b []byte) bool { return slices.Contains(ids, hexOf(b)) }) {
				return status
			}
			return 0
		}
	}
}

func TestOneBadKeyStopsNobody(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusInternalServerError} {
		c, keys := newCluster(t, 100)
		s := newServer(t)
		for _, key := range keys {
			s.stake(key, "exited_unslashed")
		}
		s.set(refusing(status, keys[7], keys[80]))
		d, j := newDuty(t, s)
		require.NoError(t, d.sweep(t.Context(), c))
		for i, key := range keys {
			want := fsm.RetiredExited
			if i == 7 || i == 80 {
				want = ""
			}
			require.Equal(t, want, c.reason(key), "key %d", i)
		}
		require.LessOrEqual(t, s.count("/head/validators"), 30)
		require.Equal(t, 1, strings.Count(j.String(), "refuses a key, which is left out\" beacon="+d.client.host+" reason=\""+hexOf(keys[7])), j)
	}
}

func TestBatchesThatAreTooLargeAreHalved(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 100)
	s := newServer(t)
	for _, key := range keys {
		s.stake(key, "active_ongoing")
	}
	s.set(func(s *server) {
		s.refuse = func(ids []string) int {
			if len(ids) > 30 {
				return http.StatusRequestEntityTooLarge
			}
			return 0
		}
	})
	d, j := newDuty(t, s)
	require.NoError(t, d.sweep(t.Context(), c))
	for _, key := range keys {
		require.Equal(t, "active_ongoing", c.status(key))
	}
	require.Empty(t, j.String())
}

func TestAServerThatRefusesEverythingIsNotFlooded(t *testing.T) {
	t.Parallel()
	for status, most := range map[int]int{http.StatusBadRequest: mostQuestions, http.StatusNotFound: 1, http.StatusMethodNotAllowed: 1, http.StatusTooManyRequests: 1} {
		c, keys := newCluster(t, 200)
		s := newServer(t)
		s.set(refusing(status, keys...))
		d, j := newDuty(t, s)
		require.Error(t, d.sweep(t.Context(), c))
		require.Equal(t, most, s.count("/validators"), status)
		require.LessOrEqual(t, strings.Count(j.String(), "\n"), mostComplaints+1)
	}
}

func TestAFailingBatchStopsNobody(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 50)
	sorted := slices.SortedFunc(slices.Values(keys), slices.Compare[[]byte])
	s := newServer(t)
	for _, key := range keys {
		s.stake(key, "exited_unslashed")
	}
	s.set(refusing(http.StatusServiceUnavailable, sorted[11], sorted[22], sorted[45]))
	d, _ := newDuty(t, s, func(cfg *Config) { cfg.Batch = 10 })
	require.ErrorContains(t, d.sweep(t.Context(), c), "503")
	for i, key := range sorted {
		require.Equal(t, i < 10 || i >= 30 && i < 40, c.reason(key) == fsm.RetiredExited, "key %d", i)
	}
	require.Nil(t, d.from, "two in a row are not enough to give up")
}

func TestSweepsThatAreGivenUpGoOnBehind(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 60)
	sorted := slices.SortedFunc(slices.Values(keys), slices.Compare[[]byte])
	s := newServer(t)
	for _, key := range keys {
		s.stake(key, "active_ongoing")
	}
	s.set(refusing(http.StatusServiceUnavailable, sorted[10:40]...))
	d, _ := newDuty(t, s, func(cfg *Config) { cfg.Batch = 10 })
	require.ErrorContains(t, d.sweep(t.Context(), c), "gave up")
	require.Equal(t, 4, s.count("/validators"))
	require.Empty(t, c.status(sorted[40]))
	require.NoError(t, d.sweep(t.Context(), c))
	require.Equal(t, 2, s.count("/validators"), "from where the last one ended")
	require.Equal(t, "active_ongoing", c.status(sorted[59]))
	s.set(func(s *server) { s.refuse = nil })
	require.NoError(t, d.sweep(t.Context(), c))
	require.Equal(t, 6, s.count("/validators"), "the next one begins anew")
	require.Equal(t, "active_ongoing", c.status(sorted[10]))
}

// TestSpoiledAnswers: what one validator's part of an answer lacks harms that one alone.
func TestSpoiledAnswers(t *testing.T) {
	t.Parallel()
	field := func(name string, value any) func(map[string]any) {
		return func(v map[string]any) {
			where := v
			if _, inner := v["validator"].(map[string]any)[name]; inner {
				where = v["validator"].(map[string]any)
			}
			if where[name] = value; value == nil {
				delete(where, name)
			}
		}
	}
	for name, spoil := range map[string]func(map[string]any){
		"no index":                      field("index", nil),
		"index of letters":              field("index", "x"),
		"negative index":                field("index", "-1"),
		"no status":                     field("status", nil),
		"status of spaces":              field("status", "exited unslashed"),
		"long status":                   field("status", "exited_"+strings.Repeat("x", 64)),
		"status of another kind":        field("status", 7),
		"no slashed":                    field("slashed", nil),
		"no exit epoch":                 field("exit_epoch", nil),
		"no withdrawable epoch":         field("withdrawable_epoch", nil),
		"no balance":                    field("effective_balance", nil),
		"balance beyond 64 bits":        field("effective_balance", "18446744073709551616"),
		"exited, but never":             field("exit_epoch", "18446744073709551615"),
		"never withdrawable":            field("withdrawable_epoch", "18446744073709551615"),
		"unslashed, but slashed":        field("slashed", true),
		"slashed, but not slashed":      field("status", "exited_slashed"),
		"active and slashed":            func(v map[string]any) { field("status", "active_ongoing")(v); field("slashed", true)(v) },
		"public key of somebody else":   field("pubkey", "0x"+strings.Repeat("ee", 48)),
		"public key of too few digits":  field("pubkey", "0xee"),
		"validator of no fields at all": field("validator", nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, keys := newCluster(t, 3)
			s := newServer(t)
			for _, key := range keys {
				s.stake(key, "active_exiting")
			}
			d, j := newDuty(t, s)
			require.NoError(t, d.sweep(t.Context(), c))
			s.set(func(s *server) {
				for _, v := range s.validators {
					v.head, v.finalized = "exited_unslashed", "exited_unslashed"
				}
				s.spoil = func(list []any) []any {
					for _, item := range list {
						v, ok := item.(map[string]any)
						require.True(t, ok)
						if v["validator"].(map[string]any)["pubkey"] == hexOf(keys[1]) {
							spoil(v)
						}
					}
					return list
				}
			})
			require.NoError(t, d.sweep(t.Context(), c))
			require.Equal(t, fsm.RetiredExited, c.reason(keys[0]))
			require.Equal(t, fsm.RetiredExited, c.reason(keys[2]))
			require.Empty(t, c.reason(keys[1]))
			if !strings.Contains(name, "somebody else") { // then it is absent, which is an answer
				require.Equal(t, "active_exiting", c.status(keys[1]), "what is not understood changes nothing")
				require.Contains(t, j.String(), "left out")
			}
		})
	}
}

func TestValidatorsTwiceInAnAnswer(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 2)
	s := newServer(t)
	s.stake(keys[0], "exited_unslashed")
	s.stake(keys[1], "exited_unslashed")
	for copies := 2; copies <= 3; copies++ {
		s.set(func(s *server) {
			s.spoil = func(list []any) []any {
				for _, item := range slices.Clone(list) {
					v, ok := item.(map[string]any)
					require.True(t, ok)
					if v["validator"].(map[string]any)["pubkey"] == hexOf(keys[0]) {
						for range copies - 1 {
							list = append(list, item)
						}
					}
				}
				return append(list, "not even an object", nil)
			}
		})
		d, _ := newDuty(t, s)
		require.NoError(t, d.sweep(t.Context(), c))
		require.Empty(t, c.reason(keys[0]), "%d copies", copies)
		require.Equal(t, fsm.RetiredExited, c.reason(keys[1]))
	}
}
