package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubernetesclient "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/api/wire"
)

//go:embed stages.yaml
var stages []byte

const (
	benchNode     = "kwok"
	benchSpace    = "bench"
	makers        = 32 // pods that are made at once
	podsTimeout   = 5 * time.Minute
	deletionPause = 20 * time.Millisecond // between two pods
)

// measurePods has kwok play pods, of which some hold keys, and times from the call that
// deletes one until the state has the proof that it ended. It takes a cluster of its own,
// whose witness is that Kubernetes.
func measurePods(ctx context.Context, b *bench) (err error) {
	k, err := startKubernetes(ctx, b.kubernetes, filepath.Join(b.dir, "pods-kubernetes"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.stop(ctx)) }()
	stop, err := b.startKwok(ctx, k)
	if err != nil {
		return err
	}
	defer stop()
	c, err := startCluster(ctx, b.bin, filepath.Join(b.dir, "pods-cluster"),
		"--witness=kubernetes", "--kubernetes="+filepath.Join(k.dir, "kubeconfig"), "--pods=*/*")
	if err != nil {
		return err
	}
	defer c.stop()
	p := &podBench{localCluster: c}
	if p.kubernetes, err = k.client(); err != nil {
		return err
	}
	return b.add(p.measure(ctx, b.options))
}

// startKwok starts kwok on a Kubernetes; the function ends it.
func (b *bench) startKwok(ctx context.Context, k *kubernetes) (func(), error) {
	tool := exec.CommandContext(ctx, filepath.Join(filepath.Dir(b.kubernetes), "tool"), "kwok") //nolint:gosec // our own script
	tool.Stderr = os.Stderr
	out, err := tool.Output()
	if err != nil {
		return nil, fmt.Errorf("build kwok: %w", err)
	}
	config := filepath.Join(b.dir, "stages.yaml")
	if err := os.WriteFile(config, stages, 0o600); err != nil {
		return nil, fmt.Errorf("stages of kwok: %w", err)
	}
	log, err := os.Create(filepath.Join(b.dir, "kwok.log"))
	if err != nil {
		return nil, fmt.Errorf("log of kwok: %w", err)
	}
	cmd := exec.Command(strings.TrimSpace(string(out)), "--kubeconfig", filepath.Join(k.dir, "kubeconfig"), "--config", config, "--manage-all-nodes") //nolint:gosec,noctx // stopped by its own signal
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("kwok: %w", err), log.Close())
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
	}, nil
}

// podBench is a cluster that follows the pods of a Kubernetes.
type podBench struct {
	*localCluster

	leader     target
	kubernetes kubernetesclient.Interface
}

func podName(i int) string { return "pod-" + strconv.Itoa(i) }

func (p *podBench) measure(ctx context.Context, o options) (figures []figure, err error) {
	if err = p.stockHolders(ctx, o.holders); err != nil {
		return nil, err
	}
	say("making pods")
	uids, err := p.makePods(ctx, o.pods)
	if err != nil {
		return nil, err
	}
	if p.leader, err = p.localCluster.leader(ctx); err != nil {
		return nil, err
	}
	for i := range o.holders {
		request := wire.AllocationRequest{Namespace: benchSpace, Pod: podName(i), PodUID: uids[i], Keys: 1}
		code, err := p.call(ctx, http.MethodPost, p.leader.API+"/v1/allocations", request, nil)
		if err != nil || code != http.StatusOK {
			return nil, errors.Join(err, fmt.Errorf("allocation for %s: status %d", podName(i), code))
		}
	}
	say("deleting pods")
	took, err := p.deleteAll(ctx, o.holders)
	if err != nil {
		return nil, err
	}
	return []figure{latency(fmt.Sprintf("from the deletion of a pod until its proof is in the state, %d pods followed", o.pods), took)}, nil
}

// stockHolders has as many keys deposited as pods are going to hold. Kubernetes knows
// nothing of the pod that asks for them, so an operator vouches for its end.
func (p *podBench) stockHolders(ctx context.Context, keys int) error {
	leader, err := p.localCluster.leader(ctx)
	if err != nil {
		return err
	}
	p.leader = leader
	var a wire.Allocation
	err = poll(ctx, depositTimeout, func() bool {
		code, err := p.call(ctx, http.MethodPost, leader.API+"/v1/allocations", requestFor("stock", keys), &a)
		return err == nil && code == http.StatusOK
	})
	if err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	return poll(ctx, podsTimeout, func() bool {
		var s wire.PodStatus
		if _, err := p.call(ctx, http.MethodGet, leader.API+"/v1/allocations/bench/stock", nil, &s); err != nil {
			return false
		}
		code, _ := p.call(ctx, http.MethodDelete, fmt.Sprintf("%s/v1/allocations/bench/stock?fence=%d&podUid=stock-uid&confirmStopped=true", leader.API, s.Allocation.Fence), nil, nil)
		return code == http.StatusNoContent || code == http.StatusNotFound
	})
}

// makePods makes a node and its pods, and returns their UIDs once all run.
func (p *podBench) makePods(ctx context.Context, n int) ([]string, error) {
	client := p.kubernetes.CoreV1()
	_, err := client.Namespaces().Create(ctx, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: benchSpace}}, metav1.CreateOptions{})
	if err == nil {
		_, err = client.Nodes().Create(ctx, &core.Node{ObjectMeta: metav1.ObjectMeta{Name: benchNode}}, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("node for pods: %w", err)
	}
	if err := poll(ctx, podsTimeout, func() bool { // the controllers make it
		_, err := client.ServiceAccounts(benchSpace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	}); err != nil {
		return nil, fmt.Errorf("service account for pods: %w", err)
	}
	uids, no := make([]string, n), false
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(makers)
	for i := range n {
		g.Go(func() error {
			made, err := client.Pods(benchSpace).Create(within, &core.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: podName(i), Labels: map[string]string{"app": "validator", "pod": podName(i)}},
				Spec: core.PodSpec{
					NodeName: benchNode, AutomountServiceAccountToken: &no,
					Containers: []core.Container{{Name: "validator", Image: "example.org/validator:1"}, {Name: "exporter", Image: "example.org/exporter:1"}},
				},
			}, metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("pod %d: %w", i, err)
			}
			uids[i] = string(made.UID)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return uids, poll(ctx, podsTimeout, func() bool { return p.pending(ctx) == 0 })
}

// pending is how many pods do not run yet; more than 0 if nobody can tell.
func (p *podBench) pending(ctx context.Context) int {
	list, err := p.kubernetes.CoreV1().Pods(benchSpace).List(ctx, metav1.ListOptions{FieldSelector: "status.phase!=Running"})
	if err != nil {
		return 1
	}
	return len(list.Items)
}

// deleteAll deletes the pods that hold keys, one after the other, and returns how long
// it took for each until its allocation was over.
func (p *podBench) deleteAll(ctx context.Context, n int) ([]time.Duration, error) {
	called := make(map[string]time.Time, n)
	now := make(chan string)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(now)
		for i := range n {
			select {
			case now <- podName(i):
			case <-ctx.Done():
				return ctx.Err() //nolint:wrapcheck // says enough
			}
			if err := p.kubernetes.CoreV1().Pods(benchSpace).Delete(ctx, podName(i), metav1.DeleteOptions{}); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			select {
			case <-time.After(deletionPause):
			case <-ctx.Done():
			}
		}
		return nil
	})
	var took []time.Duration
	g.Go(func() error {
		look := time.NewTicker(10 * time.Millisecond)
		defer look.Stop()
		over := time.After(podsTimeout)
		for len(took) < n {
			select {
			case pod, more := <-now:
				if more {
					called[pod] = time.Now()
				} else {
					now = nil
				}
			case <-look.C:
				ended, err := p.ended(ctx, called)
				if err != nil {
					return err
				}
				took = append(took, ended...)
			case <-over:
				return fmt.Errorf("%w: the proofs of %d pods", errTimeout, n-len(took))
			}
		}
		return nil
	})
	return took, g.Wait() //nolint:wrapcheck // says what it is
}

// ended takes those out of called whose allocation is over, and returns how long each took.
func (p *podBench) ended(ctx context.Context, called map[string]time.Time) (took []time.Duration, err error) {
	var all wire.Assignments
	if _, err := p.call(ctx, http.MethodGet, p.leader.API+"/v1/allocations?consistency=stale", nil, &all); err != nil {
		return nil, err
	}
	seen := time.Now()
	holds := make(map[string]bool, len(all.Assignments))
	for _, a := range all.Assignments {
		holds[a.Pod] = a.Proof.Kind == ""
	}
	for pod, at := range called {
		if !holds[pod] {
			took = append(took, seen.Sub(at))
			delete(called, pod)
		}
	}
	return took, nil
}

// client is one of everything, not held to client-go's five requests a second.
func (k *kubernetes) client() (kubernetesclient.Interface, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(k.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config.QPS = -1
	client, err := kubernetesclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of Kubernetes: %w", err)
	}
	return client, nil
}
