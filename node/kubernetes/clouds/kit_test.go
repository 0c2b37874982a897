package clouds

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
	"github.com/keysteward/keysteward/node/seal"
)

var errOutcomeUnknown = errors.New("outcome unknown")

const (
	// patience is how long a test waits for what should take a moment.
	patience = 30 * time.Second
	glance   = time.Millisecond

	project  = "project"
	provider = "provider"
)

// scene is a replicated state of one replica, where commands are applied at once, with
// Kubernetes clusters that are registered as k0, k1, and so on. Several scenes may use
// the same ones: each has a cluster ID of its own.
type scene struct {
	t       testing.TB
	machine *fsm.Machine
	vault   *seal.Vault
	secrets *Secrets
	cfg     Config
	kube    []*kubetest.Cluster
	stops   []func() // of duties

	patience time.Duration

	mu    sync.Mutex
	index uint64
	term  uint64
}

var sceneCount atomic.Int64

func newScene(t testing.TB, kube ...*kubetest.Cluster) *scene {
	t.Helper()
	s := &scene{t: t, machine: fsm.New(), kube: kube, patience: patience}
	s.begin(fmt.Sprintf("scene-%d", sceneCount.Add(1)))
	path := filepath.Join(t.TempDir(), "kek")
	require.NoError(t, os.WriteFile(path, []byte(hex.EncodeToString(bytes.Repeat([]byte{7}, seal.KeySize))), 0o600))
	kek, err := seal.ParseKEK("file:" + path)
	require.NoError(t, err)
	s.vault = seal.NewVault(nil, kek)
	record, err := seal.NewKeyring(t.Context(), s.id(), kek)
	require.NoError(t, err)
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: record}}})
	require.NoError(t, s.vault.Open(t.Context(), s.View()))
	s.secrets = NewSecrets(s.vault, s)
	s.cfg = Config{Secrets: s.secrets, RetryMin: 20 * time.Millisecond, RetryMax: 500 * time.Millisecond}
	if testing.Verbose() && os.Getenv("DUTY_LOG") != "" {
		s.cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("scene", s.id())
	}
	s.put(false, &fsmpb.Object{Kind: &fsmpb.Object_Project{Project: &fsmpb.Project{Metadata: named(project)}}})
	s.put(false, &fsmpb.Object{Kind: &fsmpb.Object_Provider{Provider: &fsmpb.ClusterProvider{Metadata: named(provider)}}})
	for i, k := range kube {
		s.register(clusterName(i), k.AdminKubeconfig, false)
	}
	return s
}

func named(name string) *fsmpb.Metadata { return &fsmpb.Metadata{Name: name} }

func (s *scene) id() string { return s.View().Meta().GetClusterId() }

// View implements Session for operators.
func (s *scene) View() *fsm.View { return s.machine.View() }

// Propose implements Session for operators.
func (s *scene) Propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	s.mu.Lock()
	in := &session{scene: s, term: s.term}
	s.mu.Unlock()
	return in.Propose(ctx, cmd)
}

func (s *scene) propose(cmd *fsmpb.Command) any {
	s.t.Helper()
	value, err := s.Propose(s.t.Context(), cmd)
	require.NoError(s.t, err)
	return value
}

// begin opens the session of a new leader; all earlier sessions are over then.
func (s *scene) begin(newID ...string) *session {
	s.t.Helper()
	s.mu.Lock()
	s.term++
	in := &session{scene: s, term: s.term}
	s.mu.Unlock()
	begin := &fsmpb.BeginSession{NodeId: "n", NewClusterId: "none"}
	if len(newID) > 0 {
		begin.NewClusterId = newID[0]
	}
	_, err := in.Propose(s.t.Context(), &fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: begin}})
	require.NoError(s.t, err)
	return in
}

func (s *scene) apply(cmd *fsmpb.Command) fsm.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	if err != nil {
		panic(err)
	}
	s.index++
	results, err := s.machine.Apply(s.index, s.term, entry)
	if err != nil {
		panic(err)
	}
	return results[0]
}

// session is a leadership. Its hooks may fail a proposal before it is logged, or lose
// the answer to one that was.
type session struct {
	*scene
	term   uint64
	before func(*fsmpb.Command) bool
	after  func(*fsmpb.Command) bool
}

// Propose implements Session.
func (s *session) Propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	cmd.Version, cmd.Session, cmd.WallMs = fsm.CommandVersion, s.term, time.Now().UnixMilli()
	if cmd.Caller == nil {
		cmd.Caller = &fsmpb.Caller{Name: "operator", Role: "admin"}
	}
	if s.before != nil && !s.before(cmd) || ctx.Err() != nil {
		return nil, errOutcomeUnknown
	}
	result := s.apply(cmd)
	if s.after != nil && !s.after(cmd) {
		return nil, errOutcomeUnknown
	}
	return result.Value, result.Err()
}

// lead runs a new duty in a new session until the test ends or stop is called.
func (s *scene) lead(changes ...func(*Config)) (d *Duty, stop func()) {
	s.t.Helper()
	return s.leadIn(s.begin(), changes...)
}

func (s *scene) leadIn(in *session, changes ...func(*Config)) (d *Duty, stop func()) {
	s.t.Helper()
	cfg := s.cfg
	for _, change := range changes {
		change(&cfg)
	}
	d, err := New(cfg)
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, in) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(s.t, err)
		case <-time.After(patience):
			require.Fail(s.t, "the duty does not end")
		}
	})
	s.t.Cleanup(stop)
	s.stops = append(s.stops, stop)
	return d, stop
}

// stop stops all duties.
func (s *scene) stop() {
	for _, stop := range s.stops {
		stop()
	}
}

func (s *scene) put(replace bool, o *fsmpb.Object) {
	s.t.Helper()
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_PutObject{PutObject: &fsmpb.PutObject{Object: o, Replace: replace}}})
}

// register registers a Kubernetes cluster, or replaces its kubeconfig.
func (s *scene) register(name, file string, replace bool) {
	s.t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(s.t, err)
	s.registerText(name, text, replace)
}

func (s *scene) registerText(name string, text []byte, replace bool) {
	s.t.Helper()
	c, err := kubeconfig.Parse(text)
	require.NoError(s.t, err)
	put := &fsmpb.PutObject{Replace: replace, Object: &fsmpb.Object{Kind: &fsmpb.Object_Cluster{Cluster: &fsmpb.KubernetesCluster{
		Provider: provider, Metadata: named(name), Server: c.Server, Authority: string(c.CA), TlsServerName: c.TLSServerName,
	}}}}
	_, err = s.secrets.PutCluster(s.t.Context(), put, c.Canonical(), &fsmpb.Caller{Name: "operator"}, "request")
	require.NoError(s.t, err)
}

// cloud makes a cloud with a permission on pods, a quota, and references to the
// clusters by their numbers. Its namespace is its name in the scene's cluster ID.
func (s *scene) cloud(name string, clusters []int, changes ...func(*fsmpb.LogicalCloud)) {
	s.t.Helper()
	c := &fsmpb.LogicalCloud{Project: project, Metadata: named(name), Namespace: s.namespace(name), User: "user"}
	for _, change := range changes {
		change(c)
	}
	s.put(false, &fsmpb.Object{Kind: &fsmpb.Object_Cloud{Cloud: c}})
	s.permit(name, "pods", c.GetNamespace(), "pods")
	s.put(false, &fsmpb.Object{Kind: &fsmpb.Object_Quota{Quota: &fsmpb.ClusterQuota{
		Project: project, Cloud: name, Metadata: named("quota"), Hard: map[string]string{"limits.cpu": "4", "pods": "10"},
	}}})
	for _, k := range clusters {
		s.refer(name, k)
	}
}

func (s *scene) namespace(name string) string { return strings.ToLower(s.id() + "-" + name) }

func (s *scene) permit(cloud, name, namespace string, resources ...string) {
	s.t.Helper()
	s.put(s.View().UserPermission(project, cloud, name) != nil, &fsmpb.Object{Kind: &fsmpb.Object_Permission{Permission: &fsmpb.UserPermission{
		Project: project, Cloud: cloud, Metadata: named(name), Namespace: namespace,
		ApiGroups: []string{""}, Resources: resources, Verbs: []string{"get", "list"},
	}}})
}

func ref(k int) string { return fmt.Sprintf("ref%d", k) }

func clusterName(k int) string { return fmt.Sprintf("k%d", k) }

func (s *scene) refer(cloud string, k int) {
	s.t.Helper()
	s.put(false, &fsmpb.Object{Kind: &fsmpb.Object_Reference{Reference: &fsmpb.ClusterReference{
		Project: project, Cloud: cloud, Metadata: named(ref(k)), Provider: provider, Cluster: clusterName(k),
	}}})
}

func (s *scene) act(cloud string, action fsmpb.ActOnCloud_Action) {
	s.t.Helper()
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_ActOnCloud{ActOnCloud: &fsmpb.ActOnCloud{Project: project, Cloud: cloud, Action: action}}})
}

func (s *scene) instantiate(clouds ...string) {
	s.t.Helper()
	for _, c := range clouds {
		s.act(c, fsmpb.ActOnCloud_ACTION_INSTANTIATE)
	}
}

func (s *scene) terminate(cloud string) { s.act(cloud, fsmpb.ActOnCloud_ACTION_TERMINATE) }

func (s *scene) get(cloud string) *fsmpb.LogicalCloud { return s.View().Cloud(project, cloud) }

func (s *scene) row(cloud string, k int) *fsmpb.Certificate {
	return s.View().Certificate(project, cloud, ref(k))
}

// await waits until a cloud is in a state.
func (s *scene) await(cloud string, want fsmpb.CloudState) {
	s.t.Helper()
	s.eventually(func() bool { return s.get(cloud).GetState() == want }, cloud, "it should be %s", fsm.StateText(want))
}

func (s *scene) awaitUp(clouds ...string) {
	s.t.Helper()
	for _, c := range clouds {
		s.await(c, fsmpb.CloudState_CLOUD_STATE_INSTANTIATED)
	}
	require.NoError(s.t, s.View().Check())
}

func (s *scene) awaitTerminated(cloud string) {
	s.t.Helper()
	s.await(cloud, fsmpb.CloudState_CLOUD_STATE_TERMINATED)
}

// awaitCode waits until a cloud's certificate waits for that reason, and returns the words.
func (s *scene) awaitCode(cloud string, k int, code string) string {
	s.t.Helper()
	s.eventually(func() bool { return s.row(cloud, k).GetCode() == code }, cloud, "it should wait because of %q", code)
	return s.row(cloud, k).GetDetail()
}

func (s *scene) eventually(done func() bool, cloud, format string, args ...any) {
	s.t.Helper()
	deadline := time.Now().Add(s.patience)
	for !done() {
		if time.Now().After(deadline) {
			require.Fail(s.t, fmt.Sprintf(format, args...), "%s is %s\n%v", cloud, fsm.StateText(s.get(cloud).GetState()),
				slices.Collect(s.View().Certificates(project, cloud)))
		}
		<-time.After(glance)
	}
}
