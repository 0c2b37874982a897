package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/keysteward/keysteward/client/cli"
	"github.com/keysteward/keysteward/node/kubernetes"
	"github.com/keysteward/keysteward/node/kubernetes/leaderlabel"
	"github.com/keysteward/keysteward/node/kubernetes/statefulset"
)

// scaleOptions are the flags about the node as a pod of a StatefulSet.
type scaleOptions struct {
	statefulSet, pod string
}

func (o *scaleOptions) bind(f *pflag.FlagSet) {
	pod := ""
	if namespace, name := os.Getenv("POD_NAMESPACE"), os.Getenv("POD_NAME"); namespace != "" && name != "" {
		pod = namespace + "/" + name
	}
	f.StringVar(&o.statefulSet, "statefulset", "", "NAMESPACE/NAME of the StatefulSet whose pods the members are: one with an ordinal beyond its replicas that does not answer is removed (needs --kubernetes)")
	f.StringVar(&o.pod, "pod", pod, "NAMESPACE/NAME of the pod in which this node runs: with --kubernetes the leader puts the label "+leaderlabel.Label+"="+leaderlabel.Leader+" on its pod (default: from POD_NAMESPACE and POD_NAME)")
}

func (o *scaleOptions) check(kubernetes string) error {
	if o.statefulSet != "" && kubernetes == "" {
		return errors.New("--statefulset needs --kubernetes, which says how many replicas are wanted")
	}
	for flag, value := range map[string]string{"statefulset": o.statefulSet, "pod": o.pod} {
		namespace, name, ok := strings.Cut(value, "/")
		if value != "" && (!ok || namespace == "" || name == "" || strings.Contains(name, "/")) {
			return fmt.Errorf("--%s %q: want NAMESPACE/NAME", flag, value)
		}
	}
	return nil
}

// scaling makes what the node does in its own Kubernetes: it heeds the number of
// replicas and labels the leader's pod.
func (o *serverOptions) scaling(p *parts) error {
	if o.callers.kubernetes == "" {
		return nil
	}
	config, err := kubernetes.Config(o.callers.kubernetes)
	if err != nil {
		return cli.UsageError(fmt.Errorf("--kubernetes: %w", err))
	}
	if namespace, name, ok := strings.Cut(o.scale.statefulSet, "/"); ok {
		if p.scale, err = statefulset.New(statefulset.Config{Kubernetes: config, Namespace: namespace, Name: name, Logger: p.log}); err != nil {
			return cli.UsageError(fmt.Errorf("--statefulset: %w", err))
		}
	}
	if namespace, name, ok := strings.Cut(o.scale.pod, "/"); ok {
		label, err := leaderlabel.New(leaderlabel.Config{Kubernetes: config, Namespace: namespace, Pod: name, Logger: p.log})
		if err != nil {
			return cli.UsageError(fmt.Errorf("--pod: %w", err))
		}
		p.more = append(p.more, label)
	}
	return nil
}
