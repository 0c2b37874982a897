package local

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
	"github.com/keysteward/keysteward/node/raftlog"
)

// TestNoSecretIsFoundAnywhere makes every kind of secret in a cluster with TLS that
// logs all it can, has a bad day with it, and looks for the secrets wherever somebody
// else could: on disks, in snapshots, logs, audit files, pages, metrics, errors, in
// /proc, and in all traffic.
func TestNoSecretIsFoundAnywhere(t *testing.T) {
	t.Parallel()
	r := newSearched(t)
	r.everyKindIsMade()
	r.attacksFail()
	r.callsThatFail()
	r.cloudCallsThatFail()
	r.nodesDie()
	r.cloudPages()
	for i := range r.site.ports.API {
		for page, answer := range readPages(t, r.site.apiURL(i), r.site.tokens.Admin) {
			r.keepText(page, string(answer))
		}
	}
	r.processes()
	require.NoError(t, r.down())
	r.capture.stop(t)
	r.keysOfSeal()

	s := newSearcher(slices.Concat(r.secrets, controls("searched-0"), r.markers(), []secret{secretText("control: cloud", "searched-cloud")}))
	p := places{}
	for _, look := range r.later {
		look(p, s)
	}
	for i := range r.site.ports.API {
		p.addFolder(t, s, r.folder.in(nodeName(i)))
		r.snapshot(p, s, i)
	}
	p.addFolder(t, s, r.folder.in("temporary"))
	r.requireTraffic(p, s)
	p.requireNone(t)
	r.requireControls(p)
	var size int64
	for _, w := range p {
		size += w.size
	}
	t.Logf("%d secrets were looked for in %d places of %d bytes", len(r.secrets), len(p), size)
}

// searched is a cluster on its way to being searched.
type searched struct {
	*launcher

	t          *testing.T
	kubernetes *kubetest.Cluster // of its logical clouds

	capture *capture
	secrets []secret
	mu      sync.Mutex
	later   []func(places, *searcher) // what is to be searched when all secrets are known
	pids    []int
}

func newSearched(t *testing.T) *searched {
	t.Helper()
	var printed output
	traces := newReceiver(t)
	l := newLauncher(t, 3, func(l *launcher) {
		l.options.TLS = true
		l.console.out = &printed
	})
	temporary := l.folder.in("temporary")
	require.NoError(t, os.Mkdir(temporary, 0o700))
	l.site.env = []string{"TMPDIR=" + temporary, "GOTRACEBACK=crash", "OTEL_BSP_SCHEDULE_DELAY=200"} // a node that is aborted says all it can
	l.site.more = func(int) []string {
		return []string{
			"--seal", "passphrase:" + l.folder.in("passphrase"), "--seal", "file:" + l.folder.in("next-kek"),
			"--log-level", "debug", "--log-format", "json", "--otlp-endpoint", traces.URL,
		}
	}
	r := &searched{launcher: l, t: t, kubernetes: kubetest.Start(t, kubetest.WithSigner())}
	r.capture = startCapture(t, r.ports())
	r.keep(func(p places, s *searcher) { p.add(s, "console", []byte(printed.String())) })
	r.keep(func(p places, s *searcher) {
		require.Contains(t, string(traces.raw), "deposit signed") // the nodes have ended
		p.add(s, "traces", traces.raw)
	})
	return r
}

// ports are all on which anybody listens: of the API, the members, Kubernetes, the chain.
func (r *searched) ports() []int {
	return slices.Concat(r.site.ports.API, r.site.ports.Raft, []int{r.kubernetesPort(), r.site.ports.Chain})
}

// keep searches something later.
func (r *searched) keep(look func(places, *searcher)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.later = append(r.later, look)
}

// keepText searches a text later.
func (r *searched) keepText(place, text string) {
	r.keep(func(p places, s *searcher) { p.add(s, place, []byte(text)) })
}

func (r *searched) add(secrets ...secret) { r.secrets = append(r.secrets, secrets...) }

// run runs a client command; its words and its command line are searched later.
func (r *searched) run(name string, args ...string) (string, error) {
	r.t.Helper()
	return r.runArgs(r.site.clientArgs(r.site.tokens.Admin, name, args...))
}

func (r *searched) runArgs(args []string) (string, error) {
	r.t.Helper()
	out := new(output)
	err := runCommand(r.t.Context(), r.spawner, r.binary, args, out, out)
	r.keepText("client command "+strings.Join(args, " "), out.String())
	r.keepText("command lines", strings.Join(args, " ")+"\n")
	return out.String(), err
}

func (r *searched) mustRun(name string, args ...string) string {
	r.t.Helper()
	out, err := r.run(name, args...)
	require.NoError(r.t, err, out)
	return out
}

// markers are said in the clear on every port, and have to be found there.
func (r *searched) markers() (list []secret) {
	for _, port := range r.ports() {
		list = append(list, secretText("control: marker of "+strconv.Itoa(port), marker(port)))
	}
	return list
}

func marker(port int) string { return fmt.Sprintf("marker that is to be found on port %d", port) }

// requireTraffic searches all traffic. What was said on each port is found there, and
// on the ports of nodes nothing but TLS was spoken by anybody else.
func (r *searched) requireTraffic(p places, s *searcher) {
	r.t.Helper()
	plain := map[string]int{}
	for _, f := range r.capture.search(r.t, s, p, r.ports()) {
		if !f.isTLS() {
			plain[f.place]++
		}
	}
	for i, port := range r.ports() {
		name, to := "control: marker of "+strconv.Itoa(port), "to "+strconv.Itoa(port)
		require.True(r.t, slices.ContainsFunc(slices.Collect(maps.Keys(p)), func(place string) bool {
			return strings.HasPrefix(place, "traffic "+to+",") && p[place].found[name]
		}), "what was said to port %d was not captured", port)
		// The chain is on loopback by design, and speaks no TLS. Kubernetes' own programs
		// were connected to its API before the capture began.
		if i < len(r.ports())-2 {
			require.Equal(r.t, 1, plain[to], "connections %s without TLS, the marker's own among them", to)
		}
	}
}

// processes keeps what can be seen of the nodes' processes, as they are now.
func (r *searched) processes() {
	r.t.Helper()
	for i := range r.site.ports.API {
		pid := r.nodes.process(i).pid()
		r.pids = append(r.pids, pid)
		for _, name := range []string{"cmdline", "environ"} {
			place := fmt.Sprintf("/proc/%d/%s", pid, name)
			content, err := os.ReadFile(place)
			require.NoError(r.t, err)
			r.keep(func(p places, s *searcher) { p.add(s, place, content) })
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		require.NoError(r.t, err)
		require.Regexp(r.t, `Max core file size +0 +0 `, string(limits))
	}
}

// requireControls holds if what is no secret was found wherever it is.
func (r *searched) requireControls(p places) {
	r.t.Helper()
	for i := range r.site.ports.API {
		p.requireControls(r.t, r.folder.path, i, r.site.apiURL(i), r.pids[len(r.pids)-3+i])
		p.requireFound(r.t, "control: pod", "snapshot of "+nodeName(i))
		for _, place := range []string{"snapshot of " + nodeName(i), r.folder.in(nodeName(i), "audit.jsonl")} {
			p.requireFound(r.t, "control: cloud", place)
		}
		p.requireFoundIn(r.t, "control: cloud", r.folder.in(nodeName(i), "data", raftlog.Folder))
	}
	p.requireFound(r.t, "control: pod", "what stands between them saw")
	cores, err := filepath.Glob("core*")
	require.NoError(r.t, err)
	require.Empty(r.t, cores, "a core dump")
}

// callsThatFail are those of people who paste what they should not.
func (r *searched) callsThatFail() {
	t := r.t
	t.Helper()
	words, wrong := readText(t, r.site.mnemonic()), "ks_"+strings.Repeat("0f1e2d3c", 8)
	r.add(secretText("wrong token", wrong))
	key := r.secrets[slices.IndexFunc(r.secrets, func(s secret) bool { return s.name == "validator key" })]
	leaked := "0x" + string(key.forms[2]) + string(key.forms[len(key.forms)/2+2])
	token := readText(t, r.site.tokens.Operator)
	for name, c := range map[string]struct{ method, path, authorization, body string }{
		"wrong token":           {http.MethodGet, "/v1/keys", "Bearer " + wrong, ""},
		"wrong scheme":          {http.MethodGet, "/v1/keys", "Basic " + token, ""},
		"token with more":       {http.MethodGet, "/v1/keys", "Bearer " + token + " " + words, ""},
		"token in the query":    {http.MethodGet, "/v1/keys?token=" + token, "Bearer " + token, ""},
		"token as a value":      {http.MethodGet, "/v1/keys?state=" + token, "Bearer " + token, ""},
		"token as a path":       {http.MethodGet, "/" + token, "", ""},
		"secret key as a key":   {http.MethodGet, "/v1/keys/" + leaked, "Bearer " + token, ""},
		"words in the body":     {http.MethodPost, "/v1/allocations", "Bearer " + token, `{"mnemonic":"` + words + `"}`},
		"words as a number":     {http.MethodPost, "/v1/allocations", "Bearer " + token, `{"keys":"` + words + `"}`},
		"secret key as a pod":   {http.MethodPost, "/v1/allocations", "Bearer " + token, `{"namespace":"default","pod":"` + leaked + `!","podUid":"1","keys":1}`},
		"body that ends early":  {http.MethodPut, "/v1/seed", "Bearer " + readText(t, r.site.tokens.Admin), `{"sealed":"` + words},
		"words and no JSON":     {http.MethodPut, "/v1/seed", "Bearer " + readText(t, r.site.tokens.Admin), words},
		"keys in the clear":     {http.MethodPost, "/v1/keys/import", "Bearer " + readText(t, r.site.tokens.Admin), `{"keys":["` + leaked + `"]}`},
		"secret as a recipient": {http.MethodPost, "/v1/allocations", "Bearer " + token, `{"namespace":"default","pod":"x","podUid":"1","keys":1,"recipient":{"kem":32,"key":"` + leaked + `"}}`},
	} {
		for i := range r.site.ports.API {
			status, answer := r.call(c.method, r.site.apiURL(i)+c.path, c.authorization, c.body)
			require.GreaterOrEqual(t, status, 300, "%s: %s", name, answer)
			r.keepText(fmt.Sprintf("answer of %s to %s", nodeName(i), name), answer)
		}
	}
}

// call returns the status and the whole answer, headers and all.
func (r *searched) call(method, url, authorization, body string) (int, string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, url, strings.NewReader(body))
	require.NoError(r.t, err)
	request.Header.Set("Authorization", authorization)
	request.Header.Set("Content-Type", asJSON)
	response, err := unverified.RoundTrip(request)
	require.NoError(r.t, err)
	defer response.Body.Close()
	if response.StatusCode == http.StatusTemporaryRedirect { // it names what was asked for, to whoever asked
		require.Equal(r.t, request.URL.RequestURI(), strings.TrimPrefix(response.Header.Get("Location"), r.site.apiURL(r.leaderIndex())))
		response.Header.Del("Location")
	}
	answer, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	return response.StatusCode, fmt.Sprint(response.Header, "\n", string(answer))
}

// nodesDie kills the leader, and has the others print all that they are doing.
func (r *searched) nodesDie() {
	t := r.t
	t.Helper()
	r.processes()
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT, syscall.SIGABRT} {
		victim := r.leaderIndex()
		p := r.nodes.process(victim)
		require.NoError(t, p.signal(sig))
		<-p.done
		status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		require.False(t, status.CoreDump(), "%s", sig)
		if sig != syscall.SIGKILL {
			require.Contains(t, readText(t, r.site.log(victim)), "goroutine 1 ", "%s: no stacks", sig)
		}
		_, err := r.nodes.restart(t.Context())
		require.NoError(t, err)
		require.NoError(t, awaitReady(t.Context(), r.nodes))
	}
	r.allocate("searched-0")
	r.requireSameKubeconfig()
}

func (r *searched) leaderIndex() int {
	r.t.Helper()
	cluster, err := awaitMembers(r.t.Context(), r.site)
	require.NoError(r.t, err)
	for i := range r.site.ports.API {
		if n := member(cluster, r.site, i); n != nil && n.ID == cluster.Leader {
			return i
		}
	}
	require.FailNow(r.t, "the leader is no node of ours", "%+v", cluster.Nodes)
	return -1
}
