package pods

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TestPostsAreBounded posts more Events than Kubernetes is to have: nobody waits, few are
// sent a second, each once, and the rest is dropped.
func TestPostsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sent int
		w, err := New(Config{
			Kubernetes: &rest.Config{Host: "https://127.0.0.1:1"}, View: newState(t, 1).View,
			wrap: func(http.RoundTripper) http.RoundTripper {
				return roundTrip(func(*http.Request) (*http.Response, error) {
					sent++
					return nil, http.ErrServerClosed
				})
			},
		})
		require.NoError(t, err)
		for i := range 2 * maxPosts {
			w.Post("ns", strings.Repeat("p", 250), fmt.Sprint("uid-", i), true, EventKeysRest, strings.Repeat("m", 5000))
			w.Post("ns", strings.Repeat("p", 250), fmt.Sprint("uid-", i), true, EventKeysRest, strings.Repeat("m", 5000))
		}
		e := <-w.poster.queue
		require.LessOrEqual(t, len(e.Name), 253)
		require.Len(t, e.Message, maxMessage)
		require.Equal(t, core.EventTypeWarning, e.Type)
		require.GreaterOrEqual(t, testutil.ToFloat64(w.metrics.events.WithLabelValues(EventKeysRest, "dropped")), float64(maxPosts))

		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.poster.run(ctx)
		}()
		<-time.After(10 * time.Second) // of the bubble
		synctest.Wait()
		stop()
		<-done
		require.InDelta(t, postsBurst+10*postsPerSec, sent, 3)
	})
}

// TestRefusalsHideNothing has a flood of pods that may not ask for keys: what became of
// keys is posted all the same, and at once.
func TestRefusalsHideNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sent []string
		w, err := New(Config{
			Kubernetes: &rest.Config{Host: "https://127.0.0.1:1"}, View: newState(t, 1).View,
			wrap: func(http.RoundTripper) http.RoundTripper {
				return roundTrip(func(r *http.Request) (*http.Response, error) {
					sent = append(sent, r.URL.Path)
					return nil, http.ErrServerClosed
				})
			},
		})
		require.NoError(t, err)
		for i := range 2 * maxPosts {
			w.Post("anybody", fmt.Sprint("p-", i), fmt.Sprint("uid-", i), true, EventNotAllowed, "no")
		}
		w.Post("important", "p", "uid", true, EventKeysRest, "they rest")
		require.InDelta(t, 2*maxPosts-maxRefusals, testutil.ToFloat64(w.metrics.events.WithLabelValues(EventNotAllowed, "dropped")), 0)
		require.Zero(t, testutil.ToFloat64(w.metrics.events.WithLabelValues(EventKeysRest, "dropped")))
		require.Len(t, w.poster.queue, 1)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.refusals.run(ctx)
		}()
		<-time.After(5 * time.Second) // of the bubble
		synctest.Wait()
		stop()
		<-done
		require.InDelta(t, refusalsBurst+5*refusalsPerSec, len(sent), 1)
	})
}

// fakeWatch is a watch that tells what it was given.
type fakeWatch struct{ events chan watch.Event }

// Stop implements watch.Interface.
func (*fakeWatch) Stop() {}

// ResultChan implements watch.Interface.
func (w *fakeWatch) ResultChan() <-chan watch.Event { return w.events }

// TestTap hides from a reader what is no word of Kubernetes, and no end that comes too soon.
func TestTap(t *testing.T) {
	t.Parallel()
	broken := apierrors.NewClientErrorReporter(500, "watch", "ClientWatchDecoding").AsObject(http.ErrServerClosed)
	expired := apierrors.NewResourceExpired("old")
	deleted := watch.Event{Type: watch.Deleted, Object: &core.Pod{}}
	for name, c := range map[string]struct {
		events []watch.Event
		reads  int
		soon   bool
	}{
		"nothing":           {nil, 0, false},
		"broken at once":    {[]watch.Event{{Type: watch.Error, Object: broken}}, 0, false},
		"broken afterwards": {[]watch.Event{deleted, {Type: watch.Error, Object: broken}, deleted}, 1, true},
		"expired":           {[]watch.Event{{Type: watch.Error, Object: &expired.ErrStatus}}, 1, true},
		"events":            {[]watch.Event{deleted, deleted}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				from := &fakeWatch{make(chan watch.Event, len(c.events))}
				for _, e := range c.events {
					from.events <- e
				}
				close(from.events)
				heard, began := 0, time.Now()
				tap := newTap(from, func(watch.Event) { heard++ })
				read := 0
				for range tap.ResultChan() {
					read++
				}
				require.Equal(t, c.reads, read)
				require.Equal(t, read, heard)
				require.Equal(t, c.soon, time.Since(began) < time.Second)
				tap.Stop()
				tap.Stop()
			})
		})
	}
	t.Run("nobody reads", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			from := &fakeWatch{make(chan watch.Event, 1)}
			from.events <- deleted
			tap := newTap(from, func(watch.Event) {})
			synctest.Wait()
			tap.Stop() // the bubble ends when the goroutine of the tap has
		})
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	pods := schema.GroupResource{Resource: "pods"}
	for _, c := range []struct {
		err  error
		code string
	}{
		{nil, ""},
		{apierrors.NewUnauthorized("no"), CodeUnauthorized},
		{apierrors.NewForbidden(pods, "", http.ErrAbortHandler), CodeForbidden},
		{apierrors.NewInternalError(http.ErrAbortHandler), CodeUnreachable},
		{fmt.Errorf("list: %w", context.DeadlineExceeded), CodeUnreachable},
		{http.ErrServerClosed, CodeUnreachable},
	} {
		require.Equal(t, c.code, explain(c.err).code, "%v", c.err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	s := newState(t, 1)
	for _, cfg := range []Config{
		{View: s.View},
		{Kubernetes: &rest.Config{}},
		{Kubernetes: &rest.Config{}, View: s.View, RestAfterProof: -1},
		{Kubernetes: &rest.Config{Host: "https://h:1", TLSClientConfig: rest.TLSClientConfig{CAFile: "/nonexistent"}}, View: s.View},
	} {
		_, err := New(cfg)
		require.ErrorIs(t, err, ErrConfig)
	}
}
