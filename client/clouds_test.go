package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

// registeredConfig is a kubeconfig that a server accepts.
const registeredConfig = `{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],
"clusters":[{"name":"a","cluster":{"server":"https://eu.example:6443"}}],"users":[{"name":"a","user":{"token":"s3cr3t"}}]}`

// describe makes logical cloud shop/web in one cluster, eu.
func describe(t *testing.T, c *Client) {
	t.Helper()
	named := func(name string) wire.ObjectMetadata { return wire.ObjectMetadata{Name: name} }
	ctx := t.Context()
	_, err := c.Projects().Create(ctx, wire.Project{Metadata: named("shop")})
	require.NoError(t, err)
	_, err = c.ClusterProviders().Create(ctx, wire.ClusterProvider{Metadata: named("acme")})
	require.NoError(t, err)
	_, err = c.KubernetesClusters("acme").Register(ctx, named("eu"), []byte(registeredConfig))
	require.NoError(t, err)
	_, err = c.LogicalClouds("shop").Create(ctx, wire.LogicalCloud{Metadata: named("web"), Spec: wire.LogicalCloudSpec{Namespace: "web", User: wire.CloudUser{UserName: "alice"}}})
	require.NoError(t, err)
	_, err = c.References("shop", "web").Create(ctx, wire.ClusterReference{Metadata: named("eu"), Spec: wire.ClusterReferenceSpec{ClusterProvider: "acme", Cluster: "eu"}})
	require.NoError(t, err)
}

// lose lets the first request that matches be carried out by the leader, if so, and
// loses its answer.
func lose(cluster *clienttest.Cluster, leader int, carriedOut bool, matches func(*http.Request) bool) {
	var done atomic.Bool
	cluster.Lead(leader)
	cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
		if node != leader || !matches(r) || done.Swap(true) {
			return false
		}
		if carriedOut {
			cluster.Serve(node, discard{http.Header{}}, r)
		}
		clienttest.Problem(w, http.StatusServiceUnavailable, TypeOutcomeUnknown, "nobody knows")
		return true
	}
}

// discard takes an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func is(method, ending string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.HasSuffix(r.URL.Path, ending) }
}

// An answer is lost after the change was made: the repeat is told of success.
func TestLostAnswersUnderV2(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lost func(*http.Request) bool
		do   func(ctx context.Context, c *Client) error
	}{
		"create": {is("POST", "/projects"), func(ctx context.Context, c *Client) error {
			_, err := c.Projects().Create(ctx, wire.Project{Metadata: wire.ObjectMetadata{Name: "new"}})
			return err
		}},
		"register": {is("POST", "/clusters"), func(ctx context.Context, c *Client) error {
			_, err := c.KubernetesClusters("acme").Register(ctx, wire.ObjectMetadata{Name: "us"}, []byte(registeredConfig))
			return err
		}},
		"replace": {is("PUT", "/clusters/eu"), func(ctx context.Context, c *Client) error {
			_, err := c.KubernetesClusters("acme").Replace(ctx, wire.ObjectMetadata{Name: "eu"}, []byte(registeredConfig))
			return err
		}},
		"change": {is("PUT", "/web"), func(ctx context.Context, c *Client) error {
			_, err := c.LogicalClouds("shop").Put(ctx, wire.LogicalCloud{Metadata: wire.ObjectMetadata{Name: "web"}})
			return err
		}},
		"delete": {is("DELETE", "/web"), func(ctx context.Context, c *Client) error {
			return c.LogicalClouds("shop").Delete(ctx, "web")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 3)
			lose(cluster, 2, true, test.lost)
			c, _ := connect(t, cluster)
			describe(t, c)
			require.NoError(t, test.do(t.Context(), c))
		})
	}
}

func TestCreateTwice(t *testing.T) {
	t.Parallel()
	c, _ := connect(t, clienttest.Start(t, 1))
	describe(t, c)
	_, err := c.Projects().Create(t.Context(), wire.Project{Metadata: wire.ObjectMetadata{Name: "shop"}})
	require.True(t, IsType(err, TypeExists), "another call has another key: %v", err)
	require.ErrorContains(t, err, "create project shop: ")
}

// Every action is taken once, also when its answer is lost, before or after it was taken.
func TestActionsAreTakenOnce(t *testing.T) {
	t.Parallel()
	for _, action := range []CloudAction{Instantiate, Update, RotateKey, Terminate} {
		for _, taken := range []bool{true, false} {
			t.Run(fmt.Sprint(action, taken), func(t *testing.T) {
				t.Parallel()
				cluster := clienttest.Start(t, 3)
				lose(cluster, 1, taken, is("POST", "/"+string(action)))
				c, _ := connect(t, cluster)
				describe(t, c)
				want := []string{string(action)}
				if action != Instantiate {
					_, err := c.Act(t.Context(), "shop", "web", Instantiate)
					require.NoError(t, err)
					want = append([]string{string(Instantiate)}, want...)
				}
				status, err := c.Act(t.Context(), "shop", "web", action)
				require.NoError(t, err)
				var did []string
				for _, a := range status.Actions {
					did = append(did, a.Action)
				}
				require.Equal(t, want, did)
			})
		}
	}
}

func TestActionsThatAreRefused(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, clock := connect(t, cluster)
	describe(t, c)
	_, err := c.Act(t.Context(), "shop", "web", RotateKey)
	require.True(t, IsType(err, TypeWrongState), err)
	require.ErrorContains(t, err, "rotate-key logical cloud shop/web: ")
	_, err = c.Act(t.Context(), "shop", "none", Instantiate)
	require.True(t, IsType(err, TypeNotFound), err)
	require.NoError(t, c.References("shop", "web").Delete(t.Context(), "eu"))
	_, err = c.Act(t.Context(), "shop", "web", Instantiate)
	require.True(t, IsType(err, TypeIncomplete), err)
	require.Empty(t, clock.pauses())
}

func TestActionThatNobodyKnowsOf(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if is("POST", "/instantiate")(r) {
			clienttest.Problem(w, http.StatusServiceUnavailable, TypeOutcomeUnknown, "nobody knows")
			return true
		}
		return false
	}
	c, clock := connect(t, cluster)
	describe(t, c)
	_, err := c.Act(t.Context(), "shop", "web", Instantiate)
	require.ErrorIs(t, err, ErrOutcomeUnknown)
	require.Greater(t, len(clock.pauses()), 10, "until its time was over")
}

func TestNamesAreCheckedBeforeAnybodyIsAsked(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	ctx := t.Context()
	for _, name := range []string{"", "..", "a/b", "a b", "-a", "a-", "ä", strings.Repeat("a", 129), "a%2fb", "a?b"} {
		_, one := c.Projects().Get(ctx, name)
		_, two := c.LogicalClouds(name).List(ctx)
		_, three := c.References("shop", name).Create(ctx, wire.ClusterReference{Metadata: wire.ObjectMetadata{Name: "eu"}})
		_, four := c.Act(ctx, name, "web", Terminate)
		_, five := c.KubernetesClusters("acme").Register(ctx, wire.ObjectMetadata{Name: name}, nil)
		six := c.Permissions("shop", "web").Delete(ctx, name)
		_, seven := c.Kubeconfig(ctx, KubeconfigOptions{Project: "shop", Cloud: name})
		for i, err := range []error{one, two, three, four, five, six, seven} {
			require.ErrorIs(t, err, ErrRequest, "%d: %q", i, name)
		}
	}
	require.Empty(t, cluster.Requests())
}

func TestAnswersAboutOthers(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		clienttest.Answer(w, wire.Project{Metadata: wire.ObjectMetadata{Name: "other"}})
		return true
	}
	c, _ := connect(t, cluster)
	_, err := c.Projects().Get(t.Context(), "shop")
	require.ErrorIs(t, err, ErrAnswer)
}

func TestKubeconfigIsAwaited(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 2)
	cluster.Lead(1)
	c, clock := connect(t, cluster)
	describe(t, c)
	_, err := c.Act(t.Context(), "shop", "web", Instantiate)
	require.NoError(t, err)
	cluster.Await(2, wire.WaitReason{Code: "sealed", Message: "no node is unsealed"})
	o := KubeconfigOptions{Project: "shop", Cloud: "web", Reference: "eu"}
	_, err = c.Kubeconfig(t.Context(), o)
	pending, ok := errors.AsType[*KubeconfigPendingError](err)
	require.True(t, ok, err)
	require.Equal(t, "sealed", pending.Pending.Reason)
	require.EqualError(t, err, "kubeconfig of logical cloud shop/web for cluster eu: it is not there yet: cluster eu waits for certificate: no node is unsealed (sealed)")

	var told []string
	text, err := c.AwaitKubeconfig(t.Context(), o, func(p wire.PendingKubeconfig) { told = append(told, p.Reason) })
	require.NoError(t, err)
	require.Equal(t, []string{"sealed"}, told)
	require.Len(t, clock.pauses(), 1)
	require.Contains(t, string([]byte(text)), "client-key-data")
	require.Equal(t, "[redacted] [redacted]", fmt.Sprintf("%s %+v", text, text))
	requests := cluster.Requests()
	require.Equal(t, "wait=20s", requests[len(requests)-1].Query)
}

// An empty 200, or one that is no YAML, is no kubeconfig.
func TestEmptyKubeconfig(t *testing.T) {
	t.Parallel()
	for media, body := range map[string]string{"application/yaml": "", "text/html": "<p>proxy</p>", "application/json": "{}"} {
		cluster := clienttest.Start(t, 1)
		cluster.Intercept = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", media)
			_, _ = w.Write([]byte(body))
			return true
		}
		c, _ := connect(t, cluster)
		_, err := c.Kubeconfig(t.Context(), KubeconfigOptions{Project: "shop", Cloud: "web"})
		require.ErrorIs(t, err, ErrAnswer, media)
	}
}
