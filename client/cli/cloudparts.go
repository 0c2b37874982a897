package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

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

func keyValuesKind() kind[wire.KeyValues] {
	metadata := func(k *wire.KeyValues) *wire.ObjectMetadata { return &k.Metadata }
	return kind[wire.KeyValues]{
		one: "key-values", parents: cloudParents, verb: "add", past: "added", metadata: metadata,
		examples: `  keysteward clouds kv add shop web settings --set region=eu --set tier=1
  keysteward clouds kv add shop web settings --file settings.yaml`,
		columns: describedColumns(metadata, column[wire.KeyValues]{"KEY-VALUES", func(k wire.KeyValues) any {
			return strings.Join(each(k.Spec.Kv, func(kv json.RawMessage) string { return string(kv) }), " ")
		}}),
		objects: func(c *client.Client, p []string) objects[wire.KeyValues] {
			return c.KeyValues(p[0], p[1])
		},
	}
}

// keyValuesFields holds the flags of kv add and update.
type keyValuesFields struct {
	file string
	set  map[string]string
}

func (f *keyValuesFields) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "file", "", "file with an object, or a list of objects, in JSON or YAML; - is standard input")
	cmd.Flags().StringToStringVar(&f.set, "set", nil, "texts, as in region=eu; repeat it, or separate by commas")
	_ = cmd.MarkFlagFilename("file")
}

func (f *keyValuesFields) check(_ *cobra.Command, fresh bool) error {
	if f.file != "" && len(f.set) > 0 {
		return usagef("--file and --set exclude each other")
	}
	if fresh && f.file == "" && len(f.set) == 0 {
		return usagef("--file or --set is required")
	}
	return nil
}

func (f *keyValuesFields) apply(_ context.Context, cmd *cobra.Command, _ *client.Client, _ []string, k *wire.KeyValues) error {
	if len(f.set) > 0 {
		k.Spec.Kv = nil
		for _, key := range slices.Sorted(maps.Keys(f.set)) {
			pair, err := json.Marshal(map[string]string{key: f.set[key]})
			if err != nil {
				return err
			}
			k.Spec.Kv = append(k.Spec.Kv, pair)
		}
	}
	if f.file == "" {
		return nil
	}
	text, err := readInput(cmd, f.file)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	if k.Spec.Kv, err = parseKeyValues(text); err != nil {
		return usagef("--file %s: %w", f.file, err)
	}
	return nil
}

// maxInput bounds what is read from a file or standard input, in bytes.
const maxInput = 1 << 20

// readInput reads a file, or standard input for "-".
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	from := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("%s has more than %d bytes", name, maxInput)
	}
	return text, err
}

// parseKeyValues reads an object or a list of objects.
func parseKeyValues(text []byte) ([]json.RawMessage, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(asJSON, &list); err != nil {
		var one map[string]json.RawMessage
		if json.Unmarshal(asJSON, &one) != nil || one == nil {
			return nil, fmt.Errorf("want an object, or a list of objects")
		}
		list = append(list, one)
	}
	kv := []json.RawMessage{}
	for _, object := range list {
		encoded, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		kv = append(kv, encoded)
	}
	return kv, nil
}
