package beacon

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestStatusIsKeptAndOnlyNewsAreProposed(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 4)
	s := newServer(t)
	s.stake(keys[0], "active_ongoing")
	v := s.stake(keys[1], "pending_queued")
	s.stake(keys[2], "pending_lookahead") // a name of 2026
	registry := prometheus.NewRegistry()
	d, _ := newDuty(t, s, func(cfg *Config) { cfg.Metrics = registry })
	require.NoError(t, d.sweep(t.Context(), c))
	d.metrics.swept(nil, 0, true)

	k := c.View().Key(keys[1])
	require.Equal(t, "pending_queued", k.GetValidatorStatus())
	require.EqualValues(t, 1, k.GetValidatorIndex())
	require.Equal(t, uint64(32e9), k.GetEffectiveBalanceGwei())
	require.Equal(t, "pending_lookahead", c.status(keys[2]))
	require.Empty(t, c.status(keys[3]), "the chain does not know it yet")
	require.Len(t, c.proposals(), 1, "one command for one batch")
	require.Equal(t, 1, s.count("/validators"), "nothing is over, so the finalized state is not asked")
	require.InDelta(t, 1, testutil.ToFloat64(d.metrics.validators.WithLabelValues("active_ongoing")), 0)

	require.NoError(t, d.sweep(t.Context(), c))
	require.Empty(t, c.proposals(), "nothing is new")
	s.set(func(*server) { v.head, v.effective = "active_ongoing", 31e9 })
	require.NoError(t, d.sweep(t.Context(), c))
	list := c.proposals()
	require.Len(t, list, 1)
	require.Len(t, list[0].GetObserveValidators().GetValidators(), 1)
	require.Equal(t, "duty", list[0].GetCaller().GetRole())

	s.set(func(*server) { v.head = "" }) // the block that brought it was reorganised away
	require.NoError(t, d.sweep(t.Context(), c))
	require.Empty(t, c.status(keys[1]))
}

func TestWhatIsRetired(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		head, finalized string
		slashed         bool
		reason          string
	}{
		"active":                        {"active_ongoing", "active_ongoing", false, ""},
		"leaving":                       {"active_exiting", "active_exiting", false, ""},
		"exited":                        {"exited_unslashed", "exited_unslashed", false, fsm.RetiredExited},
		"exited, not yet final":         {"exited_unslashed", "active_exiting", false, ""},
		"exited, then withdrawable":     {"withdrawal_possible", "exited_unslashed", false, fsm.RetiredExited},
		"unknown to the final state":    {"exited_unslashed", "", false, ""},
		"slashed while active":          {"active_slashed", "active_slashed", true, fsm.RetiredSlashed},
		"slashed, not yet final":        {"active_slashed", "active_ongoing", true, ""},
		"slashed and out":               {"exited_slashed", "exited_slashed", true, fsm.RetiredSlashed},
		"withdrawable":                  {"withdrawal_possible", "withdrawal_possible", false, fsm.RetiredWithdrawn},
		"withdrawn":                     {"withdrawal_done", "withdrawal_done", false, fsm.RetiredWithdrawn},
		"withdrawn after being slashed": {"withdrawal_done", "withdrawal_done", true, fsm.RetiredSlashed},
		"over in the final state only":  {"active_ongoing", "exited_unslashed", false, ""}, // a head that lags
		"a status to come":              {"active_consolidating", "active_consolidating", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, keys := newCluster(t, 2)
			s := newServer(t)
			v := s.stake(keys[0], x.head)
			s.stake(keys[1], "active_ongoing")
			s.set(func(s *server) {
				v.finalized, v.slashed = x.finalized, x.slashed
				s.spoil = func(list []any) []any { return list } // a status that is not published may occur
			})
			d, j := newDuty(t, s)
			for range 2 { // a repeat changes nothing
				require.NoError(t, d.sweep(t.Context(), c))
				require.Equal(t, x.head, c.status(keys[0]))
				require.Equal(t, x.reason, c.reason(keys[0]))
				require.Empty(t, c.reason(keys[1]))
			}
			if x.reason == "" {
				require.Equal(t, fsmpb.KeyState_KEY_STATE_HELD, c.View().Key(keys[0]).GetState())
				return
			}
			require.Equal(t, keys[1:], c.View().Allocation("ns", "stock").GetKeys())
			require.Equal(t, 1, strings.Count(j.String(), hexOf(keys[0])), "told once: %s", j)
			require.NotContains(t, c.ask("stock", 2).GetKeys(), keys[0], "handed out again")
		})
	}
}

// TestFinalityIsAwaited follows one exit from its first sight to its end.
func TestFinalityIsAwaited(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 1)
	s := newServer(t)
	v := s.stake(keys[0], "active_exiting")
	d, _ := newDuty(t, s)
	for _, step := range []struct{ head, finalized, reason string }{
		{"active_exiting", "active_ongoing", ""},
		{"exited_unslashed", "active_exiting", ""},
		{"active_exiting", "active_exiting", ""}, // reorganised
		{"exited_unslashed", "active_exiting", ""},
		{"exited_unslashed", "exited_unslashed", fsm.RetiredExited},
		{"withdrawal_possible", "exited_unslashed", fsm.RetiredExited},
		{"withdrawal_done", "withdrawal_done", fsm.RetiredExited},
	} {
		s.set(func(*server) { v.head, v.finalized = step.head, step.finalized })
		require.NoError(t, d.sweep(t.Context(), c))
		require.Equal(t, step.head, c.status(keys[0]))
		require.Equal(t, step.reason, c.reason(keys[0]), "%v", step)
	}
	require.Nil(t, c.View().Allocation("ns", "stock"))
	s.count("")
	require.NoError(t, d.sweep(t.Context(), c))
	require.Zero(t, s.count("/validators"), "there is nothing left to learn of it")
}

func TestWhatProvesNothing(t *testing.T) {
	t.Parallel()
	text := func(suffix, body string) func(*server) {
		return func(s *server) {
			s.replace = func(path string) string {
				if strings.HasSuffix(path, suffix) {
					return body
				}
				return ""
			}
		}
	}
	for name, x := range map[string]struct {
		change func(*server)
		err    error
		status string
	}{
		"a node that syncs":               {func(s *server) { s.isSyncing = true }, errSyncing, ""},
		"a node that is optimistic":       {func(s *server) { s.optimisticNode = true }, errSyncing, ""},
		"a node without execution":        {func(s *server) { s.elOffline = true }, errSyncing, ""},
		"a node that does not tell":       {text("/syncing", `{"data":{}}`), errSyncing, ""},
		"an optimistic answer":            {func(s *server) { s.optimistic = true }, errSyncing, ""},
		"a state that is not final":       {func(s *server) { s.notFinal = true }, errNotFinal, "exited_unslashed"},
		"another chain":                   {func(s *server) { s.network.ChainID = 1 }, errForeign, ""},
		"no chain":                        {text("/deposit_contract", `{"data":{}}`), errForeign, ""},
		"another contract":                {func(s *server) { s.network.DepositContract[0] = 1 }, errForeign, ""},
		"another fork version":            {func(s *server) { s.network.ForkVersion[0] = 1 }, errForeign, ""},
		"another genesis":                 {func(s *server) { s.network.GenesisValidatorsRoot[0] = 1 }, errForeign, ""},
		"an answer without optimistic":    {text("/validators", `{"finalized":true,"data":[]}`), errSyncing, ""},
		"an answer that is no JSON":       {text("/validators", `<html>`), nil, ""},
		"an answer that is an array":      {text("/validators", `[]`), nil, ""},
		"an answer that is too long":      {text("/validators", strings.Repeat(" ", maxAnswer)+`{}`), nil, ""},
		"a node that knows nothing":       {text("/genesis", `null`), errForeign, ""},
		"a contract that is not in hex":   {text("/deposit_contract", `{"data":{"chain_id":"1337","address":"0xzz"}}`), errForeign, ""},
		"a chain ID that is no number":    {text("/deposit_contract", `{"data":{"chain_id":"-1","address":"0x"}}`), nil, ""},
		"answers of an interface to come": {text("/validators", `{"version":"v9"}`), errSyncing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, keys := newCluster(t, 1)
			s := newServer(t)
			s.stake(keys[0], "exited_unslashed")
			s.set(x.change)
			d, _ := newDuty(t, s)
			err := d.sweep(t.Context(), c)
			require.Error(t, err)
			if x.err != nil {
				require.ErrorIs(t, err, x.err)
				require.Equal(t, map[error]string{errSyncing: "syncing", errForeign: "foreign", errNotFinal: "not-final"}[x.err], codeOf(err))
			}
			require.Empty(t, c.reason(keys[0]))
			require.Equal(t, x.status, c.status(keys[0]))
			s.set(func(s *server) { s.switches = switches{network: testNetwork} })
			require.NoError(t, d.sweep(t.Context(), c))
			require.Equal(t, fsm.RetiredExited, c.reason(keys[0]), "once the node is well")
		})
	}
}

func TestAnAnswerWithoutFinalityProvesNothing(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 1)
	s := newServer(t)
	v := s.stake(keys[0], "exited_unslashed")
	body := fmt.Sprintf(`{"execution_optimistic":false,"data":[%s]}`, encode(v.response(hexOf(keys[0]), v.head)))
	s.set(func(s *server) {
		s.replace = func(path string) string {
			if strings.HasSuffix(path, "/validators") {
				return body
			}
			return ""
		}
	})
	d, _ := newDuty(t, s)
	require.ErrorIs(t, d.sweep(t.Context(), c), errNotFinal)
	require.Empty(t, c.reason(keys[0]))
	// A head that is final itself needs no second look.
	body = strings.Replace(body, `"data"`, `"finalized":true,"data"`, 1)
	s.count("")
	require.NoError(t, d.sweep(t.Context(), c))
	require.Equal(t, fsm.RetiredExited, c.reason(keys[0]))
	require.Equal(t, 1, s.count("/validators"))
}

// Imported keys have a stake of somebody else's, and their validators may exit
// while they rest.
func TestImportedKeysAreLookedAt(t *testing.T) {
	t.Parallel()
	c, _ := newCluster(t, 0)
	key := bytes.Repeat([]byte{0xa7}, fsm.PubkeyLength)
	c.do(&fsmpb.Command{Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: key, Sealed: []byte{1}}}}}})
	s := newServer(t)
	d, _ := newDuty(t, s)
	require.NoError(t, d.sweep(t.Context(), c))
	require.Empty(t, c.status(key), "the chain does not know it yet")
	s.stake(key, "active_ongoing")
	require.NoError(t, d.sweep(t.Context(), c))
	require.Equal(t, "active_ongoing", c.status(key))
	require.True(t, fsm.RestsSinceImport(c.View().Key(key)))
	s.stake(key, "exited_slashed")
	require.NoError(t, d.sweep(t.Context(), c))
	require.Equal(t, fsm.RetiredSlashed, c.reason(key))
}

func TestManyEndAtOnce(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 30)
	s := newServer(t)
	for i, key := range keys {
		s.stake(key, []string{"exited_unslashed", "exited_slashed", "withdrawal_done"}[i%3])
	}
	d, _ := newDuty(t, s, func(cfg *Config) { cfg.Batch = 100 })
	require.NoError(t, d.sweep(t.Context(), c))
	retirements := slices.DeleteFunc(c.proposals(), func(cmd *fsmpb.Command) bool { return cmd.GetRetireKeys() == nil })
	require.Len(t, retirements, 3, "one command for each way to end")
	require.Contains(t, retirements[0].GetRetireKeys().GetDetail(), "in the finalized state")
	require.EqualValues(t, 30, c.View().Meta().GetKeyCounts()[fsmpb.KeyState_KEY_STATE_RETIRED])
	require.Nil(t, c.View().Allocation("ns", "stock"))
}

func TestBatchesCoverEveryKey(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 103)
	s := newServer(t)
	for _, key := range keys {
		s.stake(key, "active_ongoing")
	}
	d, _ := newDuty(t, s, func(cfg *Config) { cfg.Batch = 10 })
	require.NoError(t, d.sweep(t.Context(), c))
	require.Equal(t, 11, s.count("/validators"))
	require.Len(t, s.asked, 103, "and the key without a stake is not asked for")
	for _, key := range keys {
		require.Equal(t, 1, s.asked[hexOf(key)])
		require.Equal(t, "active_ongoing", c.status(key))
	}
	empty, _ := newCluster(t, 0)
	require.NoError(t, d.sweep(t.Context(), empty))
	require.Zero(t, s.count("/validators"))
}

func TestRefusedProposalsAndSessionsThatEnd(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		err   error
		asked int
		from  bool
	}{
		"refused":         {fsm.Refused(fsm.Invalid), 4, false},
		"another session": {fsm.Refused(fsm.StaleSession), 1, true},
		"unknown outcome": {errOutcomeUnknown, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, keys := newCluster(t, 4)
			s := newServer(t)
			for _, key := range keys {
				s.stake(key, "active_ongoing")
			}
			d, _ := newDuty(t, s, func(cfg *Config) { cfg.Batch = 1 })
			first := true
			c.fail = func(*fsmpb.Command) error {
				if first {
					first = false
					return x.err
				}
				return nil
			}
			require.ErrorIs(t, d.sweep(t.Context(), c), x.err)
			require.Equal(t, x.asked, s.count("/validators"))
			require.Equal(t, x.from, d.from != nil)
		})
	}
}

func TestRedirectsAndUnknownServers(t *testing.T) {
	t.Parallel()
	c, keys := newCluster(t, 1)
	s := newServer(t)
	s.stake(keys[0], "exited_unslashed")
	front := httptest.NewServer(http.RedirectHandler(s.URL+"/eth/v1/node/syncing", http.StatusTemporaryRedirect))
	t.Cleanup(front.Close)
	d, _ := newDuty(t, s, func(cfg *Config) { cfg.URL = front.URL })
	require.ErrorContains(t, d.sweep(t.Context(), c), "HTTP status 307")
	require.Zero(t, s.count(""), "a redirect was followed")

	const secret = "my-access-key"
	gone := "http://user:" + secret + "@127.0.0.1:1/" + secret
	d, j := newDuty(t, s, func(cfg *Config) { cfg.URL = gone })
	err := d.sweep(t.Context(), c)
	require.ErrorContains(t, err, "127.0.0.1:1")
	d.tell(err)
	require.NotContains(t, err.Error()+j.String(), secret)
	require.Empty(t, c.reason(keys[0]))
}
