package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

// fields of a good body, each of which a case may replace; "" leaves it out.
func body(change map[string]string) string {
	fields := map[string]string{"namespace": `"default"`, "pod": `"web-0"`, "podUid": `"uid-1"`, "keys": `2`}
	for name, value := range change {
		fields[name] = value
	}
	var parts []string
	for name, value := range fields {
		if value != "" {
			parts = append(parts, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestBadAllocationRequests(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return `"` + strings.Repeat("a", n) + `"` }
	key32 := strings.Repeat("A", 43) + "="
	cases := []struct {
		field string
		value []string
	}{
		{"namespace", []string{"", `""`, `"Default"`, `"a.b"`, `"-a"`, `"a-"`, `"a b"`, `"ä"`, `"a/b"`, `"a\u0000"`, `"a\n"`, long(64), `null`, `7`, `{}`, `["a"]`, `true`}},
		{"pod", []string{"", `""`, `"Web"`, `".a"`, `"a."`, `"a..b"`, `"a.-b"`, `"-a"`, `"../etc"`, `"a_b"`, `"<b>"`, `"web-0\n"`, long(254), `null`, `1`}},
		{"podUid", []string{"", `""`, `"a b"`, `"a/b"`, `"ü"`, `"x\n"`, long(129), `null`, `12`}},
		{"keys", []string{
			"", "0", "-1", "101", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e30",
			"1.5", `"8"`, "null", "true", "[]", "{}", "[8]",
		}},
		{"recipient", []string{
			`{"kem":32,"key":"` + key32 + `"}`, lowOrderHybrid(t), // can be read, but not sealed to
			`{}`, `{"kem":32}`, `{"kem":33,"key":"` + key32 + `"}`, `{"kem":32,"key":"AAAA"}`, `{"kem":25722,"key":"` + key32 + `"}`,
		}},
	}
	h := seeded(t)
	for _, c := range cases {
		for _, value := range c.value {
			for _, query := range []string{"", "?wait=20s"} {
				w := h.do(RoleOperator, http.MethodPost, "/v1/allocations"+query, body(map[string]string{c.field: value}))
				require.Equal(t, http.StatusBadRequest, w.Code, "%s=%s: %s", c.field, value, w.Body)
				requireProblem(t, w, http.StatusBadRequest, invalidField, c.field)
			}
		}
	}
	for field, text := range map[string]string{
		"recipient.kem": `{"kem":"32"}`,
		"recipient.key": `{"kem":32,"key":"%%"}`,
		"colour":        `{"colour":1}`,
	} {
		w := h.do(RoleOperator, http.MethodPost, "/v1/allocations", body(map[string]string{"recipient": text}))
		requireProblem(t, w, http.StatusBadRequest, invalidField, field)
	}
	require.Zero(t, h.node.proposals(), "nothing was allocated, nothing planned")
}

func TestBodiesThatAreNotTheObject(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	good := body(nil)
	for name, c := range map[string]struct {
		body  string
		kind  kind
		field string
	}{
		"cut off":           {good[:len(good)-3], malformedBody, ""},
		"only a brace":      {"{", malformedBody, ""},
		"trailing object":   {good + "{}", malformedBody, ""},
		"trailing brace":    {good + "}", malformedBody, ""},
		"array":             {"[" + good + "]", malformedBody, ""},
		"null":              {"null", malformedBody, ""},
		"text":              {`"hello"`, malformedBody, ""},
		"blank":             {"  ", malformedBody, ""},
		"form":              {"keys=1", malformedBody, ""},
		"not base64":        {body(map[string]string{"recipient": `{"kem":32,"key":"%%"}`}), invalidField, "recipient.key"},
		"base64 unpadded":   {body(map[string]string{"recipient": `{"kem":32,"key":"AAA"}`}), invalidField, "recipient.key"},
		"unknown field":     {body(map[string]string{"force": "true"}), invalidField, "force"},
		"other case":        {body(map[string]string{"keys": "", "Keys": "2"}), invalidField, "Keys"},
		"twice":             {`{"keys":1,` + good[1:], invalidField, "keys"},
		"nested elsewhere":  {body(map[string]string{"kem": "32"}), malformedBody, ""},
		"deeply nested":     {strings.Repeat(`{"recipient":`, 20_000), malformedBody, ""},
		"unknown long name": {`{"` + strings.Repeat("x", 5000) + `":1}`, invalidField, "a name of 5000 bytes"},
	} {
		w := h.do(RoleOperator, http.MethodPost, "/v1/allocations", c.body)
		require.Equal(t, http.StatusBadRequest, w.Code, name)
		requireProblem(t, w, http.StatusBadRequest, c.kind, c.field)
	}
	require.Zero(t, h.node.proposals())
}

// A token or a key that was pasted into the wrong place is not repeated by the error.
func TestErrorsDoNotRepeatSecrets(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	secret := h.tokens[RoleAdmin]
	quoted := `"` + secret + `"`
	for _, c := range []struct{ method, target, body string }{
		{http.MethodGet, "/v1/keys?state=" + secret, ""},
		{http.MethodGet, "/v1/deposits?state=" + secret, ""},
		{http.MethodGet, "/v1/keys?limit=" + secret, ""},
		{http.MethodGet, "/v1/keys?cursor=" + secret, ""},
		{http.MethodGet, "/v1/keys?consistency=" + secret, ""},
		{http.MethodGet, "/v1/keys?" + secret + "=1", ""},
		{http.MethodGet, "/v1/keys/" + secret, ""},
		{http.MethodGet, "/v1/audit?from=" + secret, ""},
		{http.MethodPost, "/v1/allocations?wait=" + secret, body(nil)},
		{http.MethodPost, "/v1/allocations", body(map[string]string{secret: "1"})},
		{http.MethodPost, "/v1/allocations", body(map[string]string{"namespace": quoted})},
		{http.MethodPost, "/v1/allocations", body(map[string]string{"pod": quoted})},
		{http.MethodPost, "/v1/allocations", body(map[string]string{"podUid": quoted[:70] + `/"`})},
		{http.MethodPost, "/v1/allocations", body(map[string]string{"keys": quoted})},
		{http.MethodPost, "/v1/allocations", body(map[string]string{"recipient": `{"kem":32,"key":` + quoted + `}`})},
		{http.MethodPost, "/v1/allocations", secret},
		{http.MethodDelete, "/v1/allocations/default/a?fence=" + secret, ""},
		{http.MethodPost, "/v1/tokens", `{"name":"x","role":` + quoted + `,"sha256":""}`},
		{http.MethodPost, "/v1/tokens", `{"name":"x","role":"viewer","namespaces":[` + quoted + `],"sha256":""}`},
	} {
		w := h.do(RoleAdmin, c.method, c.target, c.body)
		require.GreaterOrEqual(t, w.Code, 400, c.target)
		require.NotContains(t, w.Body.String(), secret[20:60], c.target+" "+c.body)
	}
}

func TestWordsForBodies(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	good := body(map[string]string{"recipient": `{"kem":32,"key":"AAAA"}`})
	say := func(text string) string {
		w := h.do(RoleOperator, http.MethodPost, "/v1/allocations", text, header("Content-Type", "application/json"))
		return requireProblem(t, w, http.StatusBadRequest, malformedBody, "").Detail
	}
	require.Equal(t, "the body is empty: want a JSON object", say(""))
	require.Equal(t, "the body is empty: want a JSON object", say(" \n\t"))
	for i := 1; i < len(good); i++ {
		require.Contains(t, say(good[:i]), "ends early", good[:i])
	}
	require.Contains(t, say("keys=1"), "the body is not JSON: invalid character 'k'")
	require.Contains(t, say(`{"keys" 1}`), "the body is not JSON: ")
	require.Contains(t, say(`{"keys":1]`), "the body is not JSON: ")
}

// lowOrderHybrid is a recipient whose half for X25519 is a point of low order.
func lowOrderHybrid(t *testing.T) string {
	t.Helper()
	_, recipient := newRecipient(t, wire.KEMMLKEM768X25519)
	clear(recipient.Key[len(recipient.Key)-32:])
	text, err := json.Marshal(recipient)
	require.NoError(t, err)
	return string(text)
}

func TestContentTypeAndSize(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	for value, status := range map[string]int{
		"application/json": 202, "application/json; charset=utf-8": 202, "Application/JSON": 202,
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "application/json; charset=latin1": 415, "json;;": 415,
	} {
		w := h.do(RoleOperator, http.MethodPost, "/v1/allocations", body(nil), header("Content-Type", value))
		require.Equal(t, status, w.Code, value)
		if status == 415 {
			requireProblem(t, w, 415, unsupportedMedia, "Content-Type")
		}
	}
	padding := strings.Repeat(" ", maxBody)
	requireProblem(t, h.do(RoleOperator, http.MethodPost, "/v1/allocations", padding+body(nil)), 413, bodyTooLarge, "")
	fits := body(nil)
	w := h.do(RoleOperator, http.MethodPost, "/v1/allocations", padding[:maxBody-len(fits)]+fits)
	require.Equal(t, http.StatusAccepted, w.Code, "exactly 1 MiB is allowed")
}

func TestBadParameters(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	pubkey := "0x" + strings.Repeat("ab", 48)
	for field, cases := range map[string][]string{
		"wait": {
			"POST /v1/allocations?wait=", "POST /v1/allocations?wait=30", "POST /v1/allocations?wait=-1s", "POST /v1/allocations?wait=61s",
			"POST /v1/allocations?wait=1h", "POST /v1/allocations?wait=soon", "POST /v1/allocations?wait=1s&wait=2s",
		},
		"consistency": {
			"GET /v1/keys?consistency=", "GET /v1/keys?consistency=eventual", "GET /assignments?consistency=STALE",
			"GET /v1/deposits?consistency=stale&consistency=stale", "GET /v1/cluster?consistency=stale", "POST /v1/allocations?consistency=stale",
		},
		"limit":  {"GET /v1/keys?limit=0", "GET /v1/keys?limit=-1", "GET /v1/deposits?limit=10001", "GET /v1/keys?limit=x", "GET /v1/keys?limit=", "GET /v1/keys?limit=99999999999999999999"},
		"cursor": {"GET /v1/keys?cursor=", "GET /v1/keys?cursor=0x12", "GET /v1/deposits?cursor=zz", "GET /v1/keys?cursor=" + pubkey + "00"},
		"state":  {"GET /v1/keys?state=", "GET /v1/keys?state=HELD", "GET /v1/deposits?state=held", "GET /v1/keys?state=unspecified"},
		"fence": {
			"DELETE /v1/allocations/default/web", "DELETE /v1/allocations/default/web?fence=", "DELETE /v1/allocations/default/web?fence=-1",
			"DELETE /v1/allocations/default/web?fence=1.5", "DELETE /v1/allocations/default/web?fence=9223372036854775808",
			"DELETE /v1/allocations/default/web?fence=0x1", "DELETE /v1/allocations/default/web?fence=1&fence=2",
		},
		"podUid": {
			"DELETE /v1/allocations/default/web?fence=1&confirmStopped=true", "DELETE /v1/allocations/default/web?fence=0&confirmStopped=true&podUid=",
			"DELETE /v1/allocations/default/web?fence=1&podUid=", "DELETE /v1/allocations/default/web?fence=1&podUid=a%20b", "DELETE /v1/allocations/default/web?fence=1&podUid=a/b",
			"DELETE /v1/allocations/default/web?fence=1&podUid=a&podUid=b", "DELETE /v1/allocations/default/web?fence=1&podUid=" + strings.Repeat("a", 129),
		},
		"poduid":         {"DELETE /v1/allocations/default/web?fence=1&poduid=uid-1"},
		"confirmStopped": {"DELETE /v1/allocations/default/web?fence=1&confirmStopped=", "DELETE /v1/allocations/default/web?fence=1&confirmStopped=yes", "DELETE /v1/allocations/default/web?fence=1&confirmStopped=1"},
		"confirmstopped": {"DELETE /v1/allocations/default/web?fence=1&confirmstopped=true"},
		"verbose":        {"GET /v1/keys?verbose=1", "GET /v1/seed?verbose"},
		"namespace":      {"GET /v1/allocations/Default/web", "DELETE /v1/allocations/a_b/web?fence=1", "GET /v1/allocations/%2e%2e/web"},
		"pod":            {"GET /v1/allocations/default/Web", "DELETE /v1/allocations/default/a..b?fence=1", "GET /v1/allocations/default/%3Cb%3E"},
		"pubkey":         {"GET /v1/keys/0x12", "GET /v1/deposits/zz", "GET /v1/keys/" + pubkey + "00"},
		"":               {"GET /v1/keys?%zz", "GET /v1/keys?a;b"},
	} {
		for _, line := range cases {
			method, target, _ := strings.Cut(line, " ")
			text := ""
			if method == http.MethodPost {
				text = body(nil)
			}
			w := h.do(RoleAdmin, method, target, text)
			require.Equal(t, http.StatusBadRequest, w.Code, line+": "+w.Body.String())
			p := requireProblem(t, w, http.StatusBadRequest, invalidField, field)
			require.Contains(t, p.Detail, field)
		}
	}
	require.Zero(t, h.node.proposals())
}

func FuzzAllocate(f *testing.F) {
	for _, seed := range []string{
		body(nil), body(map[string]string{"keys": "9223372036854775808"}), `{"recipient":{"kem":32,"key":"AAAA"}}`,
		`[]`, `{`, `{"keys":1e400}`, `{"pod":"\ud800"}`, "\xff\xfe", `{"recipient":null}`,
	} {
		f.Add([]byte(seed), "30s")
	}
	f.Fuzz(func(t *testing.T, data []byte, wait string) {
		h := newHarness(t)
		// The node refuses everything at once, so no request is held.
		h.node.onPropose = func(func() (any, error)) (any, error) { return nil, errRefused }
		r := newPost(t, h, data, wait)
		require.Less(t, r.Code, 500, "%d: %s", r.Code, r.Body)
	})
}
