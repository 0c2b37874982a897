package api

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/backup"
)

// lockedBuffer takes a log from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type contract struct {
	doc    *openapi3.T
	router routers.Router
}

var theContract = sync.OnceValue(func() contract {
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder("application/yaml", openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder(backup.MediaType, openapi3filter.FileBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(Document)
	if err != nil {
		panic(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return contract{doc, router}
})

// requireConforms holds an answer against openapi.yaml: status, headers, media
// type, body. What openapi.yaml does not have may only be a problem.
func requireConforms(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	require.NotEmpty(t, w.Header().Get("X-Request-Id"), "every answer has X-Request-Id")
	route, params, err := theContract().router.FindRoute(r)
	if err != nil {
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), "%s %s", r.Method, r.URL)
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 w.Code, Header: w.Header(),
		Body:    io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	err = openapi3filter.ValidateResponse(context.WithoutCancel(r.Context()), input)
	require.NoError(t, err, "%s %s answered %d against openapi.yaml: %s", r.Method, r.URL, w.Code, w.Body)
}

func TestRoutesAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	type row struct {
		path, method string
		query        []string
		body         bool
	}
	bodiless := []string{"/v1/seal/verify", "/v1/seal/rotate", "/v1/allocations/{namespace}/{pod}/lease", "/v1/tokens/{id}/confirm", "/v1/cluster/members/{id}/promote"} // their path says all
	for _, action := range []string{"instantiate", "update", "terminate", "rotate-key"} {
		bodiless = append(bodiless, cloudPath+"/"+action)
	}
	var want, have []row
	for path, item := range theContract().doc.Paths.Map() {
		for method, op := range item.Operations() {
			w := row{path: path, method: method, body: op.RequestBody != nil}
			for _, p := range op.Parameters {
				if p.Value.In == "query" {
					w.query = append(w.query, p.Value.Name)
				}
			}
			slices.Sort(w.query)
			want = append(want, w)
		}
	}
	for _, r := range routes() {
		query := slices.Clone(r.query)
		slices.Sort(query)
		withBody := (r.method == http.MethodPost || r.method == http.MethodPut) && !slices.Contains(bodiless, r.path)
		have = append(have, row{r.path, r.method, query, withBody})
	}
	require.ElementsMatch(t, want, have)
}

func TestDocumentNamesEveryProblem(t *testing.T) {
	t.Parallel()
	text := *theContract().doc.Components.Responses["Problem"].Value.Description
	for k := range kinds {
		require.Contains(t, text, "`"+string(k)+"`")
	}
}

func TestEveryKindHasStatusAndTitle(t *testing.T) {
	t.Parallel()
	for _, k := range slices.Collect(maps.Keys(kinds)) {
		require.GreaterOrEqual(t, kinds[k].status, 300, k)
		require.NotEmpty(t, kinds[k].title, k)
	}
}

// A document that lies is found: this answer lacks what the document requires.
func TestValidationFindsWrongAnswers(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/cluster", http.NoBody)
	route, params, err := theContract().router.FindRoute(r)
	require.NoError(t, err)
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewBufferString(`{"clusterId":"x"}`)),
	})
	require.ErrorContains(t, err, "leader")
}
