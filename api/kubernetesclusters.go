package api

import (
	"context"
	"errors"
	"iter"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

var kubernetesClusters = objects[*fsmpb.KubernetesCluster, wire.KubernetesCluster]{
	what: "Kubernetes cluster", above: []string{providerParam}, own: "cluster",
	all: func(v *fsm.View, above []string) iter.Seq[*fsmpb.KubernetesCluster] {
		return v.KubernetesClusters(above[0])
	},
	one: func(v *fsm.View, above []string, name string) *fsmpb.KubernetesCluster {
		return v.KubernetesCluster(above[0], name)
	},
	of: (*fsmpb.Object).GetCluster,
	row: func(above []string, m *fsmpb.Metadata) *fsmpb.Object {
		return &fsmpb.Object{Kind: &fsmpb.Object_Cluster{Cluster: &fsmpb.KubernetesCluster{Provider: above[0], Metadata: m}}}
	},
	show: func(by Caller, k *fsmpb.KubernetesCluster) wire.KubernetesCluster {
		if by.limited() { // they have to know the name, to refer to it
			return wire.KubernetesCluster{Metadata: metadataOf(k.GetMetadata())}
		}
		return kubernetesClusterOf(k)
	},
	echo: kubernetesClusterOf,
}

// kubernetesClusterOf shows what is public; the kubeconfig never leaves.
func kubernetesClusterOf(k *fsmpb.KubernetesCluster) wire.KubernetesCluster {
	return wire.KubernetesCluster{Metadata: metadataOf(k.GetMetadata()), Status: wire.KubernetesClusterStatus{
		Server: k.GetServer(), Authority: k.GetAuthority() != "", TLSServerName: k.GetTlsServerName(),
	}}
}

func (s *Server) createCluster(c *call) (answer, error) { return s.putCluster(c, false) }

func (s *Server) replaceCluster(c *call) (answer, error) { return s.putCluster(c, true) }

// putCluster registers a Kubernetes cluster, or gives it another kubeconfig.
func (s *Server) putCluster(c *call, replace bool) (answer, error) {
	form, err := readClusterForm(c.echo.Response().Writer, c.echo.Request())
	if err != nil {
		return answer{}, err
	}
	defer clear(form.file)
	o, err := kubernetesClusters.described(c, form.metadata, replace)
	if err != nil {
		return answer{}, err
	}
	if err := form.metadata.finish(true); err != nil {
		return answer{}, err
	}
	registered, err := kubeconfig.Parse(form.file)
	if err != nil {
		return answer{}, badKubeconfig(err)
	}
	k := o.GetCluster()
	k.Server, k.Authority, k.TlsServerName = registered.Server, string(registered.CA), registered.TLSServerName
	canonical := registered.Canonical()
	defer clear(canonical)
	ctx, cancel := context.WithTimeout(c.ctx(), proposeTimeout)
	defer cancel()
	kept, err := s.cfg.Clouds.PutCluster(ctx, &fsmpb.PutObject{Object: o, Replace: replace}, canonical, c.caller.proto(), requestID(c.echo))
	if err != nil {
		return answer{}, abandoned(err)
	}
	return kubernetesClusters.kept(kept, replace), nil
}

// badKubeconfig says why a kubeconfig is not taken, in words that repeat no secret.
func badKubeconfig(err error) error {
	var refused *kubeconfig.Refused
	if !errors.As(err, &refused) {
		return badField("file", "it is no kubeconfig that can be used")
	}
	if refused.Field == "" {
		return badField("file", "%s", refused.Reason)
	}
	return badField("file", "%s: %s", refused.Field, refused.Reason)
}
