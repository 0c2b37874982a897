package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	certificates "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	ceilingLabel  = "keysteward-bench"
	ceilingAtOnce = 16 // as many as the cluster has on their way
)

// ceiling is what this Kubernetes signs at most on this machine: so many requests by a
// program that keeps nothing, makes several at a time and watches them all together.
func (b *cloudBench) ceiling(ctx context.Context, n int) (figure, error) {
	ctx, cancel := context.WithTimeout(ctx, certificateTimeout)
	defer cancel()
	label := strconv.FormatInt(time.Now().UnixNano(), 36)
	list, err := b.requests.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return figure{}, fmt.Errorf("list requests: %w", err)
	}
	watcher, err := b.requests.Watch(ctx, metav1.ListOptions{LabelSelector: ceilingLabel + "=" + label, ResourceVersion: list.ResourceVersion})
	if err != nil {
		return figure{}, fmt.Errorf("watch requests: %w", err)
	}
	defer watcher.Stop()
	begin := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(ceilingAtOnce + 1)
	var signed []time.Duration
	g.Go(func() (err error) {
		signed, err = awaitSigned(watcher, n, begin)
		return err
	})
	for range n {
		b.bare++
		name := "bare-" + strconv.Itoa(b.bare)
		g.Go(func() error {
			_, err := approved(ctx, b.requests, name, map[string]string{ceilingLabel: label})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return figure{}, err //nolint:wrapcheck // says what it is
	}
	return rate(fmt.Sprintf("the same %d by a bare program, %d at a time under one watch: what Kubernetes can do here", n, ceilingAtOnce),
		unitCertificates, signed, time.Since(begin)), nil
}

// awaitSigned returns when each of n requests got its certificate.
func awaitSigned(watcher watch.Interface, n int, begin time.Time) ([]time.Duration, error) {
	seen := make(map[string]bool, n)
	var signed []time.Duration
	for event := range watcher.ResultChan() {
		r, ok := event.Object.(*certificates.CertificateSigningRequest)
		if !ok || len(r.Status.Certificate) == 0 || seen[r.Name] {
			continue
		}
		seen[r.Name] = true
		if signed = append(signed, time.Since(begin)); len(signed) == n {
			return signed, nil
		}
	}
	return nil, fmt.Errorf("%d of %d requests: %w", n-len(signed), n, errUnsigned)
}
