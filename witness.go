package main

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/api"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/kubernetes"
	"github.com/keysteward/keysteward/node/kubernetes/pods"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// checkWitness finds what is wrong with who testifies that a pod is gone.
func (o *serverOptions) checkWitness() error {
	switch o.witness {
	case api.WitnessNone, api.WitnessOperator:
		return nil
	case api.WitnessKubernetes:
		if o.callers.kubernetes == "" {
			return fmt.Errorf("--witness %s needs --kubernetes: which one testifies", o.witness)
		}
		return nil
	}
	return fmt.Errorf("--witness %q: want %s, %s or %s", o.witness, api.WitnessKubernetes, api.WitnessOperator, api.WitnessNone)
}

// watching makes what follows the pods of Kubernetes, if it testifies.
func (o *serverOptions) watching(p *parts, registry prometheus.Registerer) error {
	if o.witness != api.WitnessKubernetes {
		return nil
	}
	config, err := kubernetes.Config(o.callers.kubernetes)
	if err != nil {
		return fmt.Errorf("--kubernetes: %w", err)
	}
	p.pods, err = pods.New(pods.Config{
		Kubernetes: config, View: p.node.View, Namespaces: o.callers.allowedNamespaces, Node: p.node.ID(),
		RestAfterProof: o.restAfterProof, Logger: p.log, Metrics: registry,
	})
	if err != nil {
		return fmt.Errorf("--witness %s: %w", o.witness, err)
	}
	return nil
}

// podDuties are what the leader does because Kubernetes testifies.
func (p *parts) podDuties() []node.Duty {
	if p.pods == nil {
		return nil
	}
	return []node.Duty{node.HeldBack(node.DutyFunc("pods", func(ctx context.Context, s *node.Session) error {
		return p.pods.Duty().Run(ctx, s)
	}))}
}

// podRefused tells a pod by an Event that it may not ask for keys.
func (p *parts) podRefused(pod podtoken.Pod, why string) {
	if p.pods != nil {
		p.pods.Post(pod.Namespace, pod.Name, pod.UID, true, pods.EventNotAllowed, why)
	}
}
