package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	certificatesclient "k8s.io/client-go/kubernetes/typed/certificates/v1"

	"github.com/keysteward/keysteward/api/wire"
)

const (
	unitCertificates = "certificates/s"
	unitTimes        = "x"

	warmUps = 3
	calm    = 100 * time.Millisecond // for what goes on in Kubernetes once a cloud is ready
	// served is how often one kubeconfig is asked for: less than what one caller is
	// given of one within a short time.
	served = 250
)

// cloudBench compares a cluster's clouds with a bare program, on the same Kubernetes.
type cloudBench struct {
	*localCluster
	leader   target
	requests certificatesclient.CertificateSigningRequestInterface
	bare     int // requests that the bare program has made
}

// measureClouds starts a Kubernetes and has certificates signed by it: one at a time
// in turns with a bare program, then as many at once as it is told.
func (c *localCluster) measureClouds(ctx context.Context, o options) (figures []figure, err error) {
	k, err := startKubernetes(ctx, o.kubernetes, filepath.Join(c.dir, "kubernetes"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.stop(ctx)) }()
	b := &cloudBench{localCluster: c}
	if b.leader, err = c.leader(ctx); err != nil {
		return nil, err
	}
	if b.requests, err = k.requests(); err != nil {
		return nil, err
	}
	if err := c.registerKubernetes(ctx, b.leader, k.kubeconfig); err != nil {
		return nil, err
	}
	for _, measure := range []func() ([]figure, error){
		func() ([]figure, error) { return b.inTurns(ctx, o.turns) },
		func() ([]figure, error) { return b.atOnce(ctx, o.clouds) },
		func() ([]figure, error) { return b.serve(ctx) },
	} {
		more, err := measure()
		if err != nil {
			return nil, err
		}
		figures = append(figures, more...)
	}
	return figures, nil
}

// inTurns times one certificate of the cluster, one of the bare program, and so on.
func (b *cloudBench) inTurns(ctx context.Context, turns int) ([]figure, error) {
	names, err := b.prepareClouds(ctx, b.leader, "one", turns+warmUps)
	if err != nil {
		return nil, err
	}
	var (
		asked, accepted, bare []time.Duration
		alone                 time.Duration
	)
	for i, name := range names {
		whole, rest, err := b.one(ctx, name, alone/2)
		if err != nil {
			return nil, err
		}
		if alone, err = b.bareOne(ctx); err != nil {
			return nil, err
		}
		if i >= warmUps {
			asked, accepted, bare = append(asked, whole), append(accepted, rest), append(bare, alone)
		}
	}
	return []figure{
		latency("a cloud's certificate, from the call of instantiate until it is stored", asked),
		latency("a cloud's certificate, from the 202 of instantiate until it is stored", accepted),
		latency("the same by a bare client-go program, in turns", bare),
		{Name: "one certificate: the cluster's time (from the 202), compared with the bare program's", Unit: unitTimes, Value: quantile(accepted, 0.5) / quantile(bare, 0.5), Runs: turns},
	}, nil
}

// one instantiates a cloud and returns how long its certificate took, from the call
// and from its answer. It is not looked for at first, as looking takes from what is
// looked at. One returns when everything of the cloud is in Kubernetes.
func (b *cloudBench) one(ctx context.Context, name string, first time.Duration) (asked, accepted time.Duration, err error) {
	begin := time.Now()
	if err := b.instantiate(ctx, b.leader, name); err != nil {
		return 0, 0, err
	}
	answered := time.Now()
	time.Sleep(first)
	if err := b.await(ctx, b.leader, name, often, isStored); err != nil {
		return 0, 0, err
	}
	asked, accepted = time.Since(begin), time.Since(answered)
	return asked, accepted, b.settle(ctx, name)
}

// settle waits until a cloud is ready and Kubernetes is calm again.
func (b *cloudBench) settle(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := b.await(ctx, b.leader, name, seldom, isReady); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(calm):
	}
	return ctx.Err() //nolint:wrapcheck // says enough
}

func (b *cloudBench) bareOne(ctx context.Context) (time.Duration, error) {
	b.bare++
	return bareCertificate(ctx, b.requests, "bare-"+strconv.Itoa(b.bare))
}

// atOnce instantiates clouds at once, and compares how soon all have their
// certificates with the bare program's as many, one after the other.
func (b *cloudBench) atOnce(ctx context.Context, clouds int) ([]figure, error) {
	names, err := b.prepareClouds(ctx, b.leader, "many", clouds)
	if err != nil {
		return nil, err
	}
	var bare []time.Duration
	begin := time.Now()
	for range clouds {
		alone, err := b.bareOne(ctx)
		if err != nil {
			return nil, err
		}
		bare = append(bare, alone)
	}
	direct := rate(fmt.Sprintf("the same %d by a bare client-go program, one after the other", clouds), unitCertificates, bare, time.Since(begin))
	together, err := b.together(ctx, names)
	if err != nil {
		return nil, err
	}
	if err := b.settle(ctx, names...); err != nil {
		return nil, err
	}
	most, err := b.ceiling(ctx, clouds)
	if err != nil {
		return nil, err
	}
	return []figure{together, direct, most, {
		Name: fmt.Sprintf("%d certificates: the cluster's rate, compared with the bare program's", clouds), Unit: unitTimes,
		Value: together.Value / direct.Value, Runs: 1,
	}, {
		Name: fmt.Sprintf("%d certificates: the cluster's rate, compared with what Kubernetes can do here", clouds), Unit: unitTimes,
		Value: together.Value / most.Value, Runs: 1,
	}}, nil
}

// together times each cloud from the begin of all.
func (b *cloudBench) together(ctx context.Context, names []string) (figure, error) {
	var (
		calls   sync.WaitGroup
		mu      sync.Mutex
		failure error
		stored  []time.Duration
	)
	begin := time.Now()
	for _, name := range names {
		calls.Go(func() {
			err := b.instantiate(ctx, b.leader, name)
			mu.Lock()
			defer mu.Unlock()
			failure = errors.Join(failure, err)
		})
	}
	calls.Wait()
	if failure != nil {
		return figure{}, failure
	}
	for _, name := range names { // one look at a time leaves the machine to what is measured
		if err := b.await(ctx, b.leader, name, seldom, isStored); err != nil {
			return figure{}, err
		}
		stored = append(stored, time.Since(begin))
	}
	return rate(fmt.Sprintf("%d clouds instantiated at once, until all certificates are stored", len(names)), unitCertificates, stored, time.Since(begin)), nil
}

// serve times a stored kubeconfig in turns with the smallest write over the same HTTP,
// which is one commit, too.
func (b *cloudBench) serve(ctx context.Context) ([]figure, error) {
	kubeconfig := b.leader.API + cloudsURL + "/one-0/cluster-references/" + benchReference + "/kubeconfig"
	project := b.leader.API + "/v2/projects/" + benchProject
	var given, written []time.Duration
	for i := range served {
		begin := time.Now()
		if code, err := b.call(ctx, http.MethodGet, kubeconfig, nil, nil); err != nil || code != http.StatusOK {
			return nil, errors.Join(err, fmt.Errorf("%w: kubeconfig: status %d", errAnswer, code))
		}
		given = append(given, time.Since(begin))
		begin = time.Now()
		code, err := b.call(ctx, http.MethodPut, project, wire.Project{Metadata: wire.ObjectMetadata{Name: benchProject, Description: strconv.Itoa(i)}}, nil)
		if err != nil || code != http.StatusOK {
			return nil, errors.Join(err, fmt.Errorf("%w: change a project: status %d", errAnswer, code))
		}
		written = append(written, time.Since(begin))
	}
	more := func(q float64) float64 { return quantile(given, q) - quantile(written, q) }
	return []figure{
		latency("a stored kubeconfig from the leader, 1 client", given),
		latency("the smallest write, a project's description, in turns", written),
		{Name: "a stored kubeconfig: what it takes longer than that write", Unit: "ms", Value: more(0.5), P50ms: more(0.5), P99ms: more(0.99), Runs: served},
	}, nil
}
