package local

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/cluster"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
	"github.com/keysteward/keysteward/node/kubernetes/leaderlabel"
)

// memberDays are five nodes that believe to be pods ks-0 to ks-4 of a StatefulSet, on
// hosts of their own on loopback, the first three of which found the cluster. The
// StatefulSet and its pods are objects of a real API server without a kubelet.
type memberDays struct {
	*launcher

	t      *testing.T
	points failpoint.Folder
	sets   appsclient.StatefulSetInterface
	pods   coreclient.PodInterface
	client *client.Client
}

const (
	statefulSet = "ks"
	founding    = 3
	mostNodes   = 5
	// memberNet is where the nodes' hosts are, .0 to .4.
	memberNet = "127.0.90."
)

func podName(i int) string { return statefulSet + "-" + strconv.Itoa(i) }

func newMemberDays(t *testing.T) *memberDays {
	t.Helper()
	binary := binaryWithPoints(t)
	d := &memberDays{t: t, points: failpoint.Folder(t.TempDir())}
	d.launcher = newLauncher(t, mostNodes, func(l *launcher) {
		l.binary, l.nodes.binary = binary, binary
		l.site.env = []string{failpoint.Variable + "=" + string(d.points)}
	})
	kube := kubetest.Start(t)
	d.objects(kube)
	for i := range founding {
		d.site.found = append(d.site.found, podName(i)+"="+d.raft(i))
	}
	d.site.more = func(i int) []string {
		return []string{
			"--name", podName(i), "--raft-addr", d.raft(i), "--advertise-raft", d.raft(i),
			"--kubernetes", kube.AdminKubeconfig, "--pods", "default/" + kubetest.ServiceAccount,
			"--statefulset", "default/" + statefulSet, "--pod", "default/" + podName(i),
		}
	}
	var err error
	d.client, err = client.New(client.Config{
		Servers: d.site.apiURLs(), TokenFile: d.site.tokens.Admin, RequestTimeout: 2 * time.Second, RetryFor: patience,
		BackoffMin: pollTime, BackoffMax: 2 * pollTime,
	})
	require.NoError(t, err)
	t.Cleanup(d.client.Close)
	return d
}

// raft is the address of a node for members.
func (d *memberDays) raft(i int) string {
	return net.JoinHostPort(memberNet+strconv.Itoa(i), strconv.Itoa(d.site.ports.Raft[0]))
}

// objects makes the StatefulSet and its pods.
func (d *memberDays) objects(kube *kubetest.Cluster) {
	t := d.t
	t.Helper()
	a, err := appsclient.NewForConfig(kube.Admin)
	require.NoError(t, err)
	c, err := coreclient.NewForConfig(kube.Admin)
	require.NoError(t, err)
	d.sets, d.pods = a.StatefulSets("default"), c.Pods("default")
	replicas, yes, labels := int32(founding), true, map[string]string{"app": statefulSet}
	set, err := d.sets.Create(t.Context(), &apps.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: statefulSet},
		Spec: apps.StatefulSetSpec{Replicas: &replicas, ServiceName: statefulSet, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: v1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "none"}}},
		}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	owner, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []metav1.OwnerReference{
		{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set.Name, UID: set.UID, Controller: &yes},
	}}})
	require.NoError(t, err)
	for i := range mostNodes {
		kube.CreatePod("default", podName(i))
		_, err := d.pods.Patch(t.Context(), podName(i), types.MergePatchType, owner, metav1.PatchOptions{})
		require.NoError(t, err)
	}
}

// scale does what kubectl scale does.
func (d *memberDays) scale(n int32) {
	d.t.Helper()
	s, err := d.sets.GetScale(d.t.Context(), statefulSet, metav1.GetOptions{})
	require.NoError(d.t, err)
	s.Spec.Replicas = n
	_, err = d.sets.UpdateScale(d.t.Context(), statefulSet, s, metav1.UpdateOptions{})
	require.NoError(d.t, err)
}

// begin starts the process of a node, again or for the first time.
func (d *memberDays) begin(i int) {
	d.t.Helper()
	d.nodes.mu.Lock()
	defer d.nodes.mu.Unlock()
	require.NoError(d.t, d.nodes.startNode(d.t.Context(), i))
}

// end ends the process of a node.
func (d *memberDays) end(i int, sig os.Signal) {
	d.t.Helper()
	p := d.nodes.process(i)
	require.NoError(d.t, p.signal(sig))
	<-p.done
}

// wipe kills a node and takes its disk away.
func (d *memberDays) wipe(i int) {
	d.t.Helper()
	d.end(i, syscall.SIGKILL)
	require.NoError(d.t, os.RemoveAll(d.folder.in(nodeName(i), "data")))
}

// members waits until exactly these vote and are ready, and returns their IDs.
func (d *memberDays) members(want ...int) (ids []string) {
	d.t.Helper()
	var last struct{ text string }
	require.Eventually(d.t, func() bool {
		ids = nil
		for _, i := range want {
			status, answer := ask(d.t, http.MethodGet, d.site.apiURL(i)+"/readyz", "", asJSON, nil)
			if last.text = fmt.Sprintf("%s: %s", podName(i), answer); status != http.StatusOK {
				return false
			}
			var c wire.Cluster
			status, answer = ask(d.t, http.MethodGet, d.site.apiURL(i)+"/v1/cluster", d.site.tokens.Viewer, asJSON, nil)
			if last.text = string(answer); status != http.StatusOK || json.Unmarshal(answer, &c) != nil || len(c.Nodes) != len(want) {
				return false
			}
			have := map[string]bool{}
			for _, n := range c.Nodes {
				if n.Role != wire.NodeRoleVoter || n.API == "" {
					return false
				}
				have[n.ID[:len(n.ID)-9]] = true
				ids = append(ids, n.ID)
			}
			for _, i := range want {
				if !have[podName(i)] {
					return false
				}
			}
		}
		return true
	}, 2*patience, pollTime, "not the members %v: %v", want, &last)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// waits returns once a node's readiness says so.
func (d *memberDays) waits(i int, text string) {
	d.t.Helper()
	var answer []byte
	require.Eventually(d.t, func() bool {
		var status int
		status, answer = ask(d.t, http.MethodGet, d.site.apiURL(i)+"/readyz", "", asJSON, nil)
		return status == http.StatusServiceUnavailable && strings.Contains(string(answer), text)
	}, patience, pollTime, "%s does not say %q: %s", podName(i), text, &answer)
}

// leader is the index of the node that leads, whose pod alone wears the label.
func (d *memberDays) leader() (leader int) {
	d.t.Helper()
	var why struct{ text string }
	require.Eventually(d.t, func() bool {
		wearers, err := d.pods.List(d.t.Context(), metav1.ListOptions{LabelSelector: leaderlabel.Label + "=" + leaderlabel.Leader})
		if err != nil || len(wearers.Items) != 1 {
			why.text = fmt.Sprintf("%d wear the label", len(wearers.Items))
			return false
		}
		for i := range mostNodes {
			if wearers.Items[0].Name != podName(i) {
				continue
			}
			var c wire.Cluster
			leader = i
			_, answer := ask(d.t, http.MethodGet, d.site.apiURL(i)+"/v1/cluster", d.site.tokens.Viewer, asJSON, nil)
			why.text = podName(i) + " wears the label: " + string(answer)
			return json.Unmarshal(answer, &c) == nil && strings.HasPrefix(c.Leader, podName(i)+"-")
		}
		return false
	}, patience, pollTime, "the leader's pod does not wear the label alone: %v", &why)
	return leader
}

// load creates projects one after the other until stop, which checks that all that
// were acknowledged are there.
func (d *memberDays) load(prefix string) (stop func() (longest time.Duration)) {
	ctx, cancel := context.WithCancel(d.t.Context())
	var running sync.WaitGroup
	var acknowledged []string
	var longest time.Duration
	running.Go(func() {
		last := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			name := prefix + strconv.Itoa(i)
			if _, err := d.client.Projects().Create(ctx, wire.Project{Metadata: named(name)}); err == nil {
				acknowledged = append(acknowledged, name)
				longest, last = max(longest, time.Since(last)), time.Now()
			} else if ctx.Err() == nil {
				d.t.Errorf("project %s: %v", name, err)
			}
		}
	})
	return func() time.Duration {
		cancel()
		running.Wait()
		list, err := d.client.Projects().List(d.t.Context())
		require.NoError(d.t, err)
		have := map[string]bool{}
		for _, p := range list {
			have[p.Metadata.Name] = true
		}
		for _, name := range acknowledged {
			require.True(d.t, have[name], "%s was acknowledged and is lost", name)
		}
		d.t.Logf("%s: %d writes acknowledged, %v at most between two", prefix, len(acknowledged), longest)
		return longest
	}
}

// A StatefulSet grows, loses disks and leaders at the worst moments, restarts and
// shrinks, while somebody writes all the time.
func TestMembersOfAStatefulSet(t *testing.T) {
	t.Parallel()
	d := newMemberDays(t)
	for i := range founding {
		d.begin(i)
	}
	d.members(0, 1, 2)
	stop := d.load("crashes")
	d.scale(mostNodes)
	d.begin(3)
	d.begin(4)
	ids := d.members(0, 1, 2, 3, 4)

	for _, point := range []failpoint.Name{cluster.PointBeforeRemoval, cluster.PointAfterRemoval, cluster.PointBeforePromotion} {
		for _, torment := range []func(failpoint.Name){d.kill, d.pause} {
			lost := (d.leader() + 1) % mostNodes
			d.wipe(lost)
			require.NoError(t, d.points.Arm(point))
			d.begin(lost)
			torment(point)
			again := d.members(0, 1, 2, 3, 4)
			require.Len(t, without(again, ids), 1, "one new ID")
			ids = again
		}
	}
	stop()
	stop = d.load("restarts")
	for i := range mostNodes { // one after the other, as a StatefulSet does
		d.end(i, syscall.SIGTERM)
		d.begin(i)
		d.members(0, 1, 2, 3, 4)
	}
	require.Equal(t, ids, d.members(0, 1, 2, 3, 4))
	require.Less(t, stop(), 5*time.Second, "on a machine that is busy with other things too")

	stop = d.load("shrinking")
	d.scale(founding)
	d.end(4, syscall.SIGTERM)
	d.end(3, syscall.SIGTERM)
	require.Equal(t, ids[:founding], d.members(0, 1, 2))
	require.Less(t, d.leader(), founding)
	d.scale(mostNodes)
	d.begin(3) // with the disk that it had
	d.waits(3, "this node was removed from cluster")
	d.end(3, syscall.SIGKILL)
	stop()
	d.quorumLost()
}

// caught waits until a leader is held at the point, and returns its index.
func (d *memberDays) caught(point failpoint.Name) (held int) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		pid, err := d.points.Caught(point)
		require.NoError(d.t, err)
		for i := range mostNodes {
			if pid != 0 && d.nodes.process(i).pid() == pid {
				held = i
				return true
			}
		}
		return false
	}, patience, pollTime, "no leader comes to %s", point)
	return held
}

// kill kills who is held at the point and starts it again.
func (d *memberDays) kill(point failpoint.Name) {
	d.t.Helper()
	held := d.caught(point)
	d.end(held, syscall.SIGKILL)
	require.NoError(d.t, d.points.Release(point))
	d.begin(held)
}

// pause lets who is held at the point sleep until another one leads; then it goes on at
// that instruction, as if nothing had been.
func (d *memberDays) pause(point failpoint.Name) {
	d.t.Helper()
	held := d.caught(point)
	p := d.nodes.process(held)
	require.NoError(d.t, p.signal(syscall.SIGSTOP))
	require.Eventually(d.t, func() bool {
		var c wire.Cluster
		other := (held + 2) % mostNodes // neither this one nor the one on its way in
		_, answer := ask(d.t, http.MethodGet, d.site.apiURL(other)+"/v1/cluster", d.site.tokens.Viewer, asJSON, nil)
		return json.Unmarshal(answer, &c) == nil && c.Leader != "" && !strings.HasPrefix(c.Leader, podName(held)+"-")
	}, patience, pollTime, "nobody else leads")
	require.NoError(d.t, d.points.Release(point))
	require.NoError(d.t, p.signal(syscall.SIGCONT))
}

// quorumLost wipes two of three: nobody decides anything any more, and all say why.
func (d *memberDays) quorumLost() {
	d.t.Helper()
	d.wipe(0)
	d.wipe(1)
	d.begin(0)
	d.begin(1)
	for i := range founding {
		d.waits(i, "2 of 3 voters are gone, so nobody can decide any more who is a member")
	}
	d.waits(0, podName(2)+" has state already")
}

// without are those of a list that are not in another one.
func without(list, others []string) (rest []string) {
	for _, s := range list {
		if !slices.Contains(others, s) {
			rest = append(rest, s)
		}
	}
	return rest
}
