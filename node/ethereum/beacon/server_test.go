package beacon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testNetwork = validator.Network{
	Name: "custom", ChainID: 1337, ForkVersion: [4]byte{0x10, 0, 0, 0x38},
	DepositContract: [20]byte{19: 0x42}, GenesisValidatorsRoot: [32]byte{31: 7},
}

var published = sync.OnceValue(func() routers.Router {
	data, err := os.ReadFile("testdata/beacon-api.yaml")
	if err != nil {
		panic(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		panic(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return router
})

// staked is a validator of the simulated beacon chain: its status in the head and
// in the finalized state. An empty status means that the state does not have it.
type staked struct {
	index           int
	head, finalized string
	slashed         bool
	effective       uint64
}

// server is a beacon node whose requests and answers are held against the
// published interface. The switches are for what servers do wrong, or say while
// they are not well; answers that are wrong on purpose are not held against it.
type server struct {
	*httptest.Server
	t          *testing.T
	mu         sync.Mutex
	validators map[validator.PublicKey]*staked
	requests   []string       // method and path
	asked      map[string]int // how often each public key was asked for
	switches
}

type switches struct {
	network                    validator.Network
	isSyncing, elOffline       bool
	optimisticNode, optimistic bool
	notFinal                   bool                     // the finalized state is not called final
	refuse                     func(ids []string) int   // a status other than 200
	spoil                      func(data []any) []any   // of a validators' answer
	replace                    func(path string) string // a body instead of the answer
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, validators: make(map[validator.PublicKey]*staked), asked: make(map[string]int), switches: switches{network: testNetwork}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// set changes what the server says from now on.
func (s *server) set(change func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// stake adds a validator of which both states say the same.
func (s *server) stake(pubkey []byte, status string) *staked {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &staked{index: len(s.validators), head: status, finalized: status, effective: 32e9, slashed: strings.HasSuffix(status, "_slashed")}
	s.validators[validator.PublicKey(pubkey)] = v
	return v
}

// count is how many requests had this method and path; it forgets them.
func (s *server) count(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasSuffix(r, what) {
			n++
		}
	}
	s.requests = nil
	return n
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Errorf("read request: %v", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	route, params, err := published().FindRoute(r)
	if err != nil {
		s.t.Errorf("%s %s is not of the published interface: %v", r.Method, r.URL, err)
		w.WriteHeader(http.StatusNotFound)
		return
	}
	input := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		s.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	status, answer, wrong := s.answer(r.URL.Path, params["state_id"], body)
	header := http.Header{"Content-Type": {"application/json"}}
	if !wrong {
		err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: input, Status: status, Header: header, Body: io.NopCloser(bytes.NewReader(answer)),
		})
		if err != nil {
			s.t.Errorf("the test's server answers %s wrongly: %v", r.URL.Path, err)
		}
	}
	maps.Copy(w.Header(), header)
	w.WriteHeader(status)
	_, _ = w.Write(answer) //nolint:gosec // a test server of JSON
}

// answer decides what is said; wrong says that it need not be as published.
func (s *server) answer(path, state string, body []byte) (status int, answer []byte, wrong bool) {
	if s.replace != nil {
		if text := s.replace(path); text != "" {
			return http.StatusOK, []byte(text), true
		}
	}
	switch {
	case strings.HasSuffix(path, "/syncing"):
		return http.StatusOK, data(map[string]any{
			"head_slot": "99", "sync_distance": "0", "is_syncing": s.isSyncing, "is_optimistic": s.optimisticNode, "el_offline": s.elOffline,
		}), false
	case strings.HasSuffix(path, "/deposit_contract"):
		return http.StatusOK, data(map[string]any{
			"chain_id": strconv.FormatUint(s.network.ChainID, 10), "address": fmt.Sprintf("0x%x", s.network.DepositContract),
		}), false
	case strings.HasSuffix(path, "/genesis"):
		return http.StatusOK, data(map[string]any{
			"genesis_time": "1", "genesis_validators_root": fmt.Sprintf("0x%x", s.network.GenesisValidatorsRoot),
			"genesis_fork_version": fmt.Sprintf("0x%x", s.network.ForkVersion),
		}), false
	}
	var q struct {
		IDs []string `json:"ids"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		s.t.Errorf("body: %v", err)
	}
	for _, id := range q.IDs {
		s.asked[id]++
	}
	if s.refuse != nil {
		if status := s.refuse(q.IDs); status != 0 {
			return status, encode(map[string]any{"code": status, "message": "Invalid validator ID"}), false
		}
	}
	list := s.list(state, q.IDs)
	if s.spoil != nil {
		list, wrong = s.spoil(list), true
	}
	return http.StatusOK, encode(map[string]any{
		"execution_optimistic": s.optimistic, "finalized": state == stateFinalized && !s.notFinal, "data": list,
	}), wrong
}

// list is what a state has of the validators that were asked for, in any order.
func (s *server) list(state string, ids []string) []any {
	list := []any{}
	for _, id := range slices.Backward(ids) {
		pubkey, err := validator.ParsePublicKey(id)
		require.NoError(s.t, err)
		v := s.validators[pubkey]
		if v == nil {
			continue
		}
		status := v.head
		if state == stateFinalized {
			status = v.finalized
		}
		if status != "" {
			list = append(list, v.response(id, status))
		}
	}
	return list
}

// response is a ValidatorResponse with the epochs that go with the status.
func (v *staked) response(pubkey, status string) map[string]any {
	const never = "18446744073709551615"
	exit, withdrawable := never, never
	if v.slashed || !strings.HasPrefix(status, "pending_") && status != "active_ongoing" {
		exit, withdrawable = "90", "95"
	}
	return map[string]any{
		"index": strconv.Itoa(v.index), "balance": "32000000001", "status": status,
		"validator": map[string]any{
			"pubkey": pubkey, "withdrawal_credentials": "0x" + strings.Repeat("00", 32), "effective_balance": strconv.FormatUint(v.effective, 10),
			"slashed": v.slashed && status != "active_ongoing", "activation_eligibility_epoch": "1", "activation_epoch": "2",
			"exit_epoch": exit, "withdrawable_epoch": withdrawable,
		},
	}
}

func data(fields map[string]any) []byte { return encode(map[string]any{"data": fields}) }

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
