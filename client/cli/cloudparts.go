package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

var cloudParents = []string{"project", "logical cloud"}

func referenceKind() kind[wire.ClusterReference] {
	metadata := func(r *wire.ClusterReference) *wire.ObjectMetadata { return &r.Metadata }
	return kind[wire.ClusterReference]{
		one: "cluster reference", parents: cloudParents, verb: "add", past: "added", metadata: metadata,
		examples: "  keysteward clouds references add shop web eu --provider acme --cluster eu",
		columns: describedColumns(metadata,
			column[wire.ClusterReference]{"PROVIDER", func(r wire.ClusterReference) any { return r.Spec.ClusterProvider }},
			column[wire.ClusterReference]{"CLUSTER", func(r wire.ClusterReference) any { return r.Spec.Cluster }},
			column[wire.ClusterReference]{"LOAD BALANCER", func(r wire.ClusterReference) any { return r.Spec.LoadBalancerIP }},
		),
		objects: func(c *client.Client, p []string) objects[wire.ClusterReference] {
			return c.References(p[0], p[1])
		},
	}
}

// referenceFields holds the flags of references add and update.
type referenceFields struct{ provider, cluster, loadBalancer string }

func (f *referenceFields) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.provider, "provider", "", "the provider of the Kubernetes cluster (required to add)")
	cmd.Flags().StringVar(&f.cluster, "cluster", "", "the Kubernetes cluster, as it was registered (default: the reference's name)")
	cmd.Flags().StringVar(&f.loadBalancer, "load-balancer-ip", "", "an IP address; kept, nothing more")
}

func (f *referenceFields) check(cmd *cobra.Command, fresh bool) error {
	if fresh {
		return requireFlags(cmd, "provider")
	}
	return nil
}

func (f *referenceFields) apply(_ context.Context, cmd *cobra.Command, _ *client.Client, _ []string, r *wire.ClusterReference) error {
	if r.Spec.Cluster == "" {
		r.Spec.Cluster = r.Metadata.Name
	}
	for flag, set := range map[string]func(){
		"provider":         func() { r.Spec.ClusterProvider = f.provider },
		"cluster":          func() { r.Spec.Cluster = f.cluster },
		"load-balancer-ip": func() { r.Spec.LoadBalancerIP = f.loadBalancer },
	} {
		if cmd.Flags().Changed(flag) {
			set()
		}
	}
	return nil
}

func permissionKind() kind[wire.UserPermission] {
	metadata := func(p *wire.UserPermission) *wire.ObjectMetadata { return &p.Metadata }
	return kind[wire.UserPermission]{
		one: "user permission", parents: cloudParents, verb: "add", past: "added", metadata: metadata,
		examples: `  keysteward clouds permissions add shop web pods --resources pods,pods/log --verbs get,list,watch
  keysteward clouds permissions add shop web apps --api-groups apps --resources deployments --verbs '*'
  keysteward clouds permissions add shop web nodes --cluster-wide --resources nodes --verbs get,list`,
		columns: describedColumns(metadata,
			column[wire.UserPermission]{"NAMESPACE", func(p wire.UserPermission) any { return orElse(p.Spec.Namespace, "(cluster-wide)") }},
			column[wire.UserPermission]{"API GROUPS", func(p wire.UserPermission) any { return strings.Join(each(p.Spec.APIGroups, shownGroup), ",") }},
			column[wire.UserPermission]{"RESOURCES", func(p wire.UserPermission) any { return strings.Join(p.Spec.Resources, ",") }},
			column[wire.UserPermission]{"VERBS", func(p wire.UserPermission) any { return strings.Join(p.Spec.Verbs, ",") }},
		),
		objects: func(c *client.Client, p []string) objects[wire.UserPermission] {
			return c.Permissions(p[0], p[1])
		},
	}
}

// coreGroup is how people call the API group whose name is empty.
const coreGroup = "core"

func shownGroup(group string) string { return orElse(group, coreGroup) }

// permissionFields holds the flags of permissions add and update.
type permissionFields struct {
	namespace                string
	clusterWide              bool
	groups, resources, verbs []string
}

func (f *permissionFields) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.namespace, "namespace", "", "where it is given (default: the cloud's own namespace)")
	flags.BoolVar(&f.clusterWide, "cluster-wide", false, "give it in the whole cluster instead")
	flags.StringSliceVar(&f.groups, "api-groups", []string{coreGroup}, "API groups, such as apps; "+coreGroup+" is that of pods and services")
	flags.StringSliceVar(&f.resources, "resources", nil, "such as pods,services,pods/log (required to add)")
	flags.StringSliceVar(&f.verbs, "verbs", nil, "such as get,list,watch (required to add)")
}

func (f *permissionFields) check(cmd *cobra.Command, fresh bool) error {
	if f.clusterWide && f.namespace != "" {
		return usagef("--namespace and --cluster-wide exclude each other")
	}
	if fresh {
		return requireFlags(cmd, "resources", "verbs")
	}
	return nil
}

func (f *permissionFields) apply(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string, p *wire.UserPermission) error {
	flags, fresh := cmd.Flags(), p.Spec.Verbs == nil
	switch {
	case f.clusterWide:
		p.Spec.Namespace = ""
	case f.namespace != "":
		p.Spec.Namespace = f.namespace
	case fresh:
		cloud, err := c.LogicalClouds(args[0]).Get(ctx, args[1])
		if err != nil {
			return err
		}
		p.Spec.Namespace = cloud.Spec.Namespace
	}
	if fresh || flags.Changed("api-groups") {
		p.Spec.APIGroups = each(f.groups, func(group string) string {
			if group == coreGroup {
				return ""
			}
			return group
		})
	}
	if flags.Changed("resources") {
		p.Spec.Resources = f.resources
	}
	if flags.Changed("verbs") {
		p.Spec.Verbs = f.verbs
	}
	return nil
}

func quotaKind() kind[wire.ClusterQuota] {
	metadata := func(q *wire.ClusterQuota) *wire.ObjectMetadata { return &q.Metadata }
	return kind[wire.ClusterQuota]{
		one: "cluster quota", parents: cloudParents, verb: "add", past: "added", metadata: metadata,
		examples: "  keysteward clouds quotas add shop web small --hard limits.cpu=4,limits.memory=8Gi --hard pods=20",
		columns:  describedColumns(metadata, column[wire.ClusterQuota]{"HARD", func(q wire.ClusterQuota) any { return pairs(q.Spec) }}),
		objects: func(c *client.Client, p []string) objects[wire.ClusterQuota] {
			return c.Quotas(p[0], p[1])
		},
	}
}

// quotaFields holds the flag of quotas add and update.
type quotaFields struct{ hard map[string]string }

func (f *quotaFields) addTo(cmd *cobra.Command) {
	cmd.Flags().StringToStringVar(&f.hard, "hard", nil, "limits, as in limits.cpu=4; repeat it, or separate by commas (required to add)")
}

func (f *quotaFields) check(cmd *cobra.Command, fresh bool) error {
	if fresh {
		return requireFlags(cmd, "hard")
	}
	return nil
}

func (f *quotaFields) apply(_ context.Context, cmd *cobra.Command, _ *client.Client, _ []string, q *wire.ClusterQuota) error {
	if cmd.Flags().Changed("hard") {
		q.Spec = f.hard
	}
	return nil
}
