package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
)

// kubeconfigWish is what somebody asks for.
type kubeconfigWish struct {
	project, cloud string
	// reference is empty for all that the cloud was instantiated or updated with.
	reference string
	// exec: with a plug-in instead of a key.
	exec bool
	// discloses: the answer has a key in it.
	discloses bool
}

// kubeconfigState is how far the cloud is with what is asked for: it is there, unless
// something is pending.
type kubeconfigState struct {
	cloud    *fsmpb.LogicalCloud
	rows     []*fsmpb.Certificate
	clusters []*fsmpb.KubernetesCluster
	pending  *wire.PendingKubeconfig
}

// getKubeconfig answers with the kubeconfig of a cloud's user, or with what it waits
// for.
func (s *Server) getKubeconfig(c *call) (answer, error) {
	wait, err := c.wait()
	if err != nil {
		return answer{}, err
	}
	wish, err := c.kubeconfigWish()
	if err != nil {
		return answer{}, err
	}
	turn := s.holds.turn()
	defer turn.leave()
	for deadline, held, over := time.Now().Add(wait), false, false; ; held = true {
		view, got, err := s.lookForKubeconfig(c, wish)
		if err != nil {
			return answer{}, err
		}
		if got.pending == nil {
			return s.giveKubeconfig(c, wish, got, held)
		}
		left := time.Until(deadline)
		if left <= 0 || over || s.ends() {
			return stillPending(got.pending), nil
		}
		changed, err := turn.hold(c.ctx(), s.stopping, view.WatchClouds(), left)
		if err != nil {
			return answer{}, err
		}
		over = !changed // one last look
	}
}

func (c *call) kubeconfigWish() (w kubeconfigWish, err error) {
	params := ofCloud
	if slices.Contains(c.echo.ParamNames(), referenceParam) {
		params = append(slices.Clone(ofCloud), referenceParam)
	}
	names, err := c.names(params...)
	if err != nil {
		return w, err
	}
	w.project, w.cloud = names[0], names[1]
	if len(names) > len(ofCloud) {
		w.reference = names[2]
	}
	w.exec, err = c.flag("exec")
	w.discloses = !w.exec && c.echo.Request().Method != http.MethodHead
	return w, err
}

// lookForKubeconfig decides on the state of this node. Where that leads to a
// disclosure, the command that records it proves that this node leads; everything
// else is decided again behind a Barrier, because the state may be that of a leader
// who is none any more.
func (s *Server) lookForKubeconfig(c *call, wish kubeconfigWish) (*fsm.View, kubeconfigState, error) {
	view := s.node.View()
	got, err := decideKubeconfig(view, wish, failpoint.Now())
	if err == nil && got.pending == nil && wish.discloses {
		return view, got, nil
	}
	if err := s.barrier(c.ctx()); err != nil {
		return nil, kubeconfigState{}, err
	}
	view = s.node.View()
	got, err = decideKubeconfig(view, wish, failpoint.Now())
	return view, got, err
}

// decideKubeconfig is the table of answers, for a point in time: an error for what
// there is not and will not be, pending for what there is not yet.
func decideKubeconfig(v *fsm.View, wish kubeconfigWish, now time.Time) (kubeconfigState, error) {
	k := v.Cloud(wish.project, wish.cloud)
	switch {
	case k == nil:
		return kubeconfigState{}, newProblem(notFound, "there is no logical cloud %s/%s", wish.project, wish.cloud)
	case wish.reference != "" && v.ClusterReference(wish.project, wish.cloud, wish.reference) == nil:
		return kubeconfigState{}, newProblem(notFound, "logical cloud %s/%s has no cluster reference %s", wish.project, wish.cloud, wish.reference)
	case !fsm.IsUp(k):
		return kubeconfigState{}, newProblem(wrongState, "logical cloud %s/%s is %s: there are kubeconfigs once it was instantiated, and until it is terminated", wish.project, wish.cloud, cloudState(k))
	case wish.reference != "" && !slices.Contains(k.GetPlan().GetReferences(), wish.reference):
		return kubeconfigState{}, newProblem(wrongState, "cluster reference %s came after logical cloud %s/%s was instantiated: update it first", wish.reference, wish.project, wish.cloud)
	}
	wanted := k.GetPlan().GetReferences()
	if wish.reference != "" {
		wanted = []string{wish.reference}
	}
	got := kubeconfigState{cloud: k}
	for _, reference := range wanted {
		if err := got.add(v, wish, reference, now); err != nil {
			return kubeconfigState{}, err
		}
	}
	return got, nil
}

// add decides about one reference of the plan.
func (got *kubeconfigState) add(v *fsm.View, wish kubeconfigWish, reference string, now time.Time) error {
	row := v.Certificate(wish.project, wish.cloud, reference)
	cluster := v.KubernetesCluster(row.GetProvider(), row.GetCluster())
	if row == nil || cluster == nil {
		return fmt.Errorf("reference %s of logical cloud %s/%s is in its plan and lacks its certificate or cluster", reference, wish.project, wish.cloud)
	}
	got.rows, got.clusters = append(got.rows, row), append(got.clusters, cluster)
	switch {
	case wish.exec, isValid(row, now):
		return nil
	case isRefused(row):
		reason := reasonOf(row, now)
		return newProblem(refusedByKube, "cluster reference %s: %s (%s); update the logical cloud to ask again", reference, reason.Message, reason.Code)
	case got.pending == nil:
		got.pending = pendingKubeconfig(got.cloud, row, now)
	}
	got.pending.Waiting = append(got.pending.Waiting, reference)
	return nil
}

// pendingKubeconfig says what the certificate of one reference waits for.
func pendingKubeconfig(k *fsmpb.LogicalCloud, row *fsmpb.Certificate, now time.Time) *wire.PendingKubeconfig {
	step, reason := nextStep(k, row), reasonOf(row, now)
	if reason.Code == "" {
		reason = wire.WaitReason{Code: string(step), Message: stepTexts[step], Since: wallTime(row.GetSinceWallMs())}
	}
	return &wire.PendingKubeconfig{
		Reference: row.GetReference(), Step: step, Reason: reason.Code, Message: reason.Message, Since: reason.Since,
	}
}

// stillPending answers 202. What waits for somebody to mend something may be asked for
// less often.
func stillPending(p *wire.PendingKubeconfig) answer {
	retry := time.Second
	if p.Reason != string(p.Step) {
		retry = 5 * time.Second
	}
	return answer{
		status: http.StatusAccepted, body: p,
		header: http.Header{"Retry-After": {seconds(retry)}, "Cache-Control": {"no-store"}},
	}
}

// isStale reports whether the cloud is another one than the command was made for.
func isStale(err error) bool { return errors.Is(err, fsm.Refused(fsm.StaleGeneration)) }
