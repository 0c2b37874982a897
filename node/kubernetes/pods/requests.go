package pods

import (
	"context"
	"errors"
	"fmt"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// maxWithdrawn bounds how many requests are taken back after one look.
const maxWithdrawn = 64

// withdraw takes back the requests of pods whose deletion was seen a while ago, and that
// no pod of the same name takes over: a deposit for nobody costs a stake. No key moves by
// that, so it needs no proof.
func (r *run) withdraw(ctx context.Context, view *fsm.View) error {
	taken := 0
	for request := range view.Requests() {
		if taken == maxWithdrawn {
			return nil
		}
		pod := request.GetPod()
		if !r.w.abandoned(pod) {
			continue
		}
		taken++
		_, err := r.session.Propose(ctx, &fsmpb.Command{
			Caller: dutyCaller(),
			Body: &fsmpb.Command_Release{Release: &fsmpb.Release{
				Namespace: pod.GetNamespace(), Pod: pod.GetName(), PodUid: pod.GetUid(), Code: testimony.CodeGone,
			}},
		})
		if err != nil && !errors.Is(err, fsm.Refused(fsm.NotFound)) && !errors.Is(err, fsm.Refused(fsm.StaleFence)) {
			return fmt.Errorf("take back the request of pod %s/%s: %w", pod.GetNamespace(), pod.GetName(), err)
		}
		r.w.log.Info("the request of a pod that is gone was taken back", "pod", pod.GetNamespace()+"/"+pod.GetName(), "uid", pod.GetUid(), "keys", request.GetKeys())
	}
	return nil
}

// abandoned reports whether a pod was deleted a while ago and has no successor.
func (w *Watcher) abandoned(pod *fsmpb.Pod) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	f, m := w.feedOf(pod.GetNamespace()), w.memories[pod.GetUid()]
	return f != nil && f.synced && f.trouble.code == "" && m != nil && m.deleted && w.cfg.now().Sub(m.at) >= w.cfg.withdrawAfter &&
		w.pods[podName{pod.GetNamespace(), pod.GetName()}] == nil
}

// dutyCaller stands for the leader itself in the audit records.
func dutyCaller() *fsmpb.Caller { return &fsmpb.Caller{Name: "pods", Role: "duty"} }
