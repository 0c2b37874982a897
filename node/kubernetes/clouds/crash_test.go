package clouds

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// trap springs at one of the steps that a leader makes: its requests to Kubernetes and
// its proposals. What it did up to one step and before the next can not be told apart
// from outside, so these are all moments at which something can happen to it.
type trap struct {
	mu     sync.Mutex
	steps  int
	at     int
	spring func() (goOn bool)
	sprung chan struct{}
}

func newTrap(at int, spring func() bool) *trap {
	return &trap{at: at, spring: spring, sprung: make(chan struct{})}
}

func (x *trap) step() bool {
	x.mu.Lock()
	x.steps++
	now := x.steps == x.at
	x.mu.Unlock()
	if !now {
		return true
	}
	close(x.sprung)
	return x.spring()
}

func (x *trap) isSprung() bool {
	select {
	case <-x.sprung:
		return true
	default:
		return false
	}
}

var errCut = errors.New("cut off")

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// counts tells which requests are steps: not the watch, and not lists of sweeps.
func counts(r *http.Request) bool {
	return !strings.Contains(r.URL.RawQuery, "watch=") && !strings.Contains(r.URL.RawQuery, "limit=")
}

// before springs the trap instead of, or before, the step.
func (x *trap) before(in *session) func(*Config) {
	in.before = func(*fsmpb.Command) bool { return x.step() }
	return func(c *Config) {
		c.wrap = func(next http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) {
				if counts(r) && !x.step() {
					return nil, errCut
				}
				return next.RoundTrip(r)
			})
		}
	}
}

// after springs it when the step was done and its answer has not come yet.
func (x *trap) after(in *session) func(*Config) {
	in.after = func(*fsmpb.Command) bool { return x.step() }
	return func(c *Config) {
		c.wrap = func(next http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) {
				answer, err := next.RoundTrip(r)
				if counts(r) && !x.step() && err == nil {
					_ = answer.Body.Close()
					return nil, errCut
				}
				return answer, err
			})
		}
	}
}

// crashScene is a cloud with something of everything. Its namespace was there before:
// one that is deleted takes Kubernetes seconds, in which there are steps without end.
func (s *scene) crashScene() {
	_, err := s.admin(0).CoreV1().Namespaces().Create(s.t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace("c")}}, metav1.CreateOptions{})
	require.NoError(s.t, err)
	s.cloud("c", []int{0}, func(c *fsmpb.LogicalCloud) { c.Labels = map[string]string{"a": "b"} })
	s.permit("c", "wide", "", "nodes")
	s.instantiate("c")
}

// life is what is asked of the cloud while a leader may be in trouble: it is there,
// gets another key, and goes.
var lives = []struct {
	name   string
	stride int // between the steps that are tried
	ask    func(*scene)
	end    func(*scene)
}{
	{"instantiate", 1, (*scene).crashScene, (*scene).requireWell},
	{"rotate", 2, func(s *scene) {
		_, stop := s.lead()
		s.crashScene()
		s.awaitUp("c")
		stop()
		s.act("c", fsmpb.ActOnCloud_ACTION_ROTATE_KEY)
	}, (*scene).requireWell},
	{"terminate", 1, func(s *scene) {
		_, stop := s.lead()
		s.crashScene()
		s.awaitUp("c")
		stop()
		s.terminate("c")
	}, func(s *scene) {
		s.awaitTerminated("c")
		s.requireNothing(0)
	}},
}

// requireWell checks the whole promise for the cloud of a crash scene.
func (s *scene) requireWell() {
	s.t.Helper()
	s.awaitUp("c")
	user := s.user("c", 0)
	s.eventually(func() bool { return mayList(s.t.Context(), user, s.namespace("c")) }, "c", "its user may")
	s.eventually(func() bool {
		n := 0
		for _, name := range s.holdings(0) {
			if !strings.HasPrefix(name, "request ") {
				n++
			}
		}
		return n == 6 // quota, two roles, two bindings; the namespace has our label
	}, "c", "exactly what is wanted is there")
}

// walk goes through every step of each life, each time in a scene of its own.
func walk(t *testing.T, s *scene, do func(s *scene, step int, ask func(*scene)) bool) {
	t.Helper()
	for _, life := range lives {
		t.Run(life.name, func(t *testing.T) {
			t.Parallel()
			for step := 1; ; step += life.stride {
				one := newScene(t, s.kube[0])
				more := do(one, step, life.ask)
				life.end(one)
				one.stop()
				if !more {
					require.Greater(t, step, 5)
					return
				}
			}
		})
	}
}

// The next leader knows the state and the clusters, and nothing else.
func testLeaderDies(t *testing.T, s *scene) {
	t.Helper()
	walk(t, s, func(s *scene, step int, ask func(*scene)) bool {
		ask(s)
		in := s.begin()
		dead, die := context.WithCancel(t.Context())
		defer die()
		x := newTrap(step, func() bool { die(); return false })
		_, stop := s.leadIn(in, x.before(in))
		s.untilRest(dead.Done())
		stop()
		s.lead(sweeping)
		return x.isSprung()
	})
}

// The outcome of one step is unknown to the leader, who goes on.
func testAnswerLost(t *testing.T, s *scene) {
	t.Helper()
	walk(t, s, func(s *scene, step int, ask func(*scene)) bool {
		ask(s)
		in := s.begin()
		x := newTrap(step, func() bool { return false })
		s.leadIn(in, x.after(in))
		s.untilRest(nil)
		return x.isSprung()
	})
}

// Another leader takes over and finishes. Then the first wakes up and goes on where it
// was, as if nothing had happened.
func testLeaderPaused(t *testing.T, s *scene) {
	t.Helper()
	walk(t, s, func(s *scene, step int, ask func(*scene)) bool {
		ask(s)
		in := s.begin()
		awake := make(chan struct{})
		x := newTrap(step, func() bool { <-awake; return true })
		_, stop := s.leadIn(in, x.before(in))
		s.untilRest(x.sprung)
		s.lead(sweeping)
		s.untilRest(nil)
		close(awake)
		stop()
		return x.isSprung()
	})
}

// untilRest waits until the leader has nothing left to do, or something happened to it.
func (s *scene) untilRest(happened <-chan struct{}) {
	s.t.Helper()
	s.eventually(func() bool {
		select {
		case <-happened:
			return true
		default:
		}
		for range s.View().AllOpenCertificates() {
			return false
		}
		return true
	}, "c", "the leader should come to an end")
}
