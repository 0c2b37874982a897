package api

import (
	"encoding/json"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// ofCloud are the parameters of what is below a logical cloud.
var ofCloud = []string{projectParam, cloudParam}

var references = objects[*fsmpb.ClusterReference, wire.ClusterReference]{
	what: "cluster reference", above: ofCloud, own: referenceParam,
	all: func(v *fsm.View, above []string) iter.Seq[*fsmpb.ClusterReference] {
		return v.ClusterReferences(above[0], above[1])
	},
	one: func(v *fsm.View, above []string, name string) *fsmpb.ClusterReference {
		return v.ClusterReference(above[0], above[1], name)
	},
	of: (*fsmpb.Object).GetReference,
	row: func(above []string, m *fsmpb.Metadata) *fsmpb.Object {
		return &fsmpb.Object{Kind: &fsmpb.Object_Reference{Reference: &fsmpb.ClusterReference{Project: above[0], Cloud: above[1], Metadata: m}}}
	},
	spec: readReference,
	show: func(_ Caller, r *fsmpb.ClusterReference) wire.ClusterReference { return referenceOf(r) },
	echo: referenceOf,
}

func referenceOf(r *fsmpb.ClusterReference) wire.ClusterReference {
	return wire.ClusterReference{Metadata: metadataOf(r.GetMetadata()), Spec: wire.ClusterReferenceSpec{
		ClusterProvider: r.GetProvider(), Cluster: r.GetCluster(), LoadBalancerIP: r.GetLoadBalancerIp(),
	}}
}

func readReference(_ *Server, _ *call, body *jsonObject, r *fsmpb.ClusterReference) error {
	spec := body.object("spec")
	r.Provider = spec.text("clusterProvider", "cluster-provider")
	spec.checkName("clusterProvider", r.GetProvider())
	r.Cluster = spec.text("cluster", "cluster-name")
	spec.checkName("cluster", r.GetCluster())
	r.LoadBalancerIp = spec.text("loadBalancerIP", "loadbalancer-ip")
	if ip := r.GetLoadBalancerIp(); ip != "" {
		if _, err := netip.ParseAddr(ip); err != nil {
			spec.fail("loadBalancerIP", "%s is no IP address", told(ip))
		}
	}
	return spec.finish(true)
}

var quotas = objects[*fsmpb.ClusterQuota, wire.ClusterQuota]{
	what: "cluster quota", above: ofCloud, own: "quota",
	all: func(v *fsm.View, above []string) iter.Seq[*fsmpb.ClusterQuota] {
		return v.ClusterQuotas(above[0], above[1])
	},
	one: func(v *fsm.View, above []string, name string) *fsmpb.ClusterQuota {
		return v.ClusterQuota(above[0], above[1], name)
	},
	of: (*fsmpb.Object).GetQuota,
	row: func(above []string, m *fsmpb.Metadata) *fsmpb.Object {
		return &fsmpb.Object{Kind: &fsmpb.Object_Quota{Quota: &fsmpb.ClusterQuota{Project: above[0], Cloud: above[1], Metadata: m}}}
	},
	spec: readQuota,
	show: func(_ Caller, q *fsmpb.ClusterQuota) wire.ClusterQuota { return quotaOf(q) },
	echo: quotaOf,
}

func quotaOf(q *fsmpb.ClusterQuota) wire.ClusterQuota {
	return wire.ClusterQuota{Metadata: metadataOf(q.GetMetadata()), Spec: q.GetHard()}
}

// readQuota reads the hard limits of a ResourceQuota. Whether Kubernetes counts a
// resource is for it to say: that differs between clusters.
func readQuota(_ *Server, _ *call, body *jsonObject, q *fsmpb.ClusterQuota) error {
	spec := body.object("spec")
	q.Hard = spec.textMap()
	if len(q.GetHard()) == 0 {
		body.fail("spec", "required: want at least one limit, such as \"limits.cpu\": \"4\"")
	}
	for _, name := range slices.Sorted(maps.Keys(q.GetHard())) {
		if wrong := validation.IsQualifiedName(name); len(wrong) > 0 {
			spec.fail(fieldName(name), "no name of a resource: %s", wrong[0])
		}
		amount, err := resource.ParseQuantity(q.GetHard()[name])
		switch {
		case err != nil:
			spec.fail(fieldName(name), "%s is no quantity as Kubernetes has them, such as 500m, 4 or 16Gi", told(q.GetHard()[name]))
		case amount.Sign() < 0:
			spec.fail(fieldName(name), "%s is negative", told(q.GetHard()[name]))
		}
	}
	return body.finish(false)
}

var keyValues = objects[*fsmpb.KeyValues, wire.KeyValues]{
	what: "key-values", above: ofCloud, own: "keyValuesName",
	all: func(v *fsm.View, above []string) iter.Seq[*fsmpb.KeyValues] {
		return v.AllKeyValues(above[0], above[1])
	},
	one: func(v *fsm.View, above []string, name string) *fsmpb.KeyValues {
		return v.KeyValues(above[0], above[1], name)
	},
	of: (*fsmpb.Object).GetKeyValues,
	row: func(above []string, m *fsmpb.Metadata) *fsmpb.Object {
		return &fsmpb.Object{Kind: &fsmpb.Object_KeyValues{KeyValues: &fsmpb.KeyValues{Project: above[0], Cloud: above[1], Metadata: m}}}
	},
	spec: func(_ *Server, _ *call, body *jsonObject, kv *fsmpb.KeyValues) error {
		spec := body.object("spec")
		kv.Pairs = spec.objects("kv")
		return spec.finish(true)
	},
	show: func(_ Caller, kv *fsmpb.KeyValues) wire.KeyValues { return keyValuesOf(kv) },
	echo: keyValuesOf,
}

func keyValuesOf(kv *fsmpb.KeyValues) wire.KeyValues {
	w := wire.KeyValues{Metadata: metadataOf(kv.GetMetadata()), Spec: wire.KeyValuesSpec{Kv: []json.RawMessage{}}}
	for _, pair := range kv.GetPairs() {
		w.Spec.Kv = append(w.Spec.Kv, json.RawMessage(pair))
	}
	return w
}
