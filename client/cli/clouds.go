package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

const cloudsHelp = `A logical cloud is a namespace in several Kubernetes clusters with one user, who gets
a kubeconfig for each of them.

  keysteward clouds providers create acme
  keysteward clouds clusters register acme eu --kubeconfig eu.kubeconfig
  keysteward clouds projects create shop
  keysteward clouds create shop web --namespace web --user alice
  keysteward clouds references add shop web eu --provider acme --cluster eu
  keysteward clouds permissions add shop web pods --resources pods --verbs get,list,watch
  keysteward clouds instantiate shop web --wait
  keysteward kubeconfig get shop web eu --merge
  kubectl --context alice@eu get pods

References, permissions and quotas that change while a cloud is instantiated take
effect with "clouds update".

` + exitHelp

func (a *app) cloudsCommand() *cobra.Command {
	projects, providers, clouds := projectKind(), providerKind(), cloudKind()
	commands := []*cobra.Command{
		group("projects", "the projects that logical clouds belong to", projects.commands(a, func() fields[wire.Project] { return nothing[wire.Project]{} })...),
		group("providers", "the providers that Kubernetes clusters belong to", providers.commands(a, func() fields[wire.ClusterProvider] { return nothing[wire.ClusterProvider]{} })...),
		a.kubernetesClustersCommand(),
		clouds.listCommand(a), clouds.getCommand(a), clouds.makeCommand(a, &cloudFields{}),
		clouds.updateCommand(a, "change", &cloudFields{}), clouds.deleteCommand(a),
		group("references", "the Kubernetes clusters of a logical cloud", referenceKind().commands(a, func() fields[wire.ClusterReference] { return &referenceFields{} })...),
		group("permissions", "what the user of a logical cloud may do", permissionKind().commands(a, func() fields[wire.UserPermission] { return &permissionFields{} })...),
		group("quotas", "how much a logical cloud may use in each cluster", quotaKind().commands(a, func() fields[wire.ClusterQuota] { return &quotaFields{} })...),
		group("kv", "key-values that are kept with a logical cloud", keyValuesKind().commands(a, func() fields[wire.KeyValues] { return &keyValuesFields{} })...),
	}
	commands = append(commands, a.actionCommands()...)
	g := group("clouds", "logical clouds over Kubernetes clusters", append(commands, a.cloudStatusCommand())...)
	g.Long = cloudsHelp
	return g
}

func describedColumns[T any](metadata func(*T) *wire.ObjectMetadata, between ...column[T]) []column[T] {
	columns := []column[T]{{"NAME", func(t T) any { return metadata(&t).Name }}}
	columns = append(columns, between...)
	return append(columns, column[T]{"DESCRIPTION", func(t T) any { return metadata(&t).Description }})
}

func projectKind() kind[wire.Project] {
	metadata := func(p *wire.Project) *wire.ObjectMetadata { return &p.Metadata }
	return kind[wire.Project]{
		one: "project", verb: "create", past: "created", metadata: metadata, columns: describedColumns(metadata),
		examples: "  keysteward clouds projects create shop --description 'the web shop'",
		objects:  func(c *client.Client, _ []string) objects[wire.Project] { return c.Projects() },
	}
}

func providerKind() kind[wire.ClusterProvider] {
	metadata := func(p *wire.ClusterProvider) *wire.ObjectMetadata { return &p.Metadata }
	return kind[wire.ClusterProvider]{
		one: "cluster provider", verb: "create", past: "created", metadata: metadata, columns: describedColumns(metadata),
		examples: "  keysteward clouds providers create acme",
		objects:  func(c *client.Client, _ []string) objects[wire.ClusterProvider] { return c.ClusterProviders() },
		fixed:    true,
	}
}

func cloudKind() kind[wire.LogicalCloud] {
	metadata := func(l *wire.LogicalCloud) *wire.ObjectMetadata { return &l.Metadata }
	return kind[wire.LogicalCloud]{
		one: "logical cloud", parents: []string{"project"}, verb: "create", past: "created; nothing is in a Kubernetes cluster before it is instantiated", metadata: metadata,
		examples: `  keysteward clouds create shop web --namespace web --user alice
  keysteward clouds create shop web --namespace web --user alice --label team=web --key-algorithm Ed25519 --expiration 90d`,
		columns: describedColumns(metadata,
			column[wire.LogicalCloud]{"STATE", func(l wire.LogicalCloud) any { return l.Status.State }},
			column[wire.LogicalCloud]{"NAMESPACE", func(l wire.LogicalCloud) any { return l.Spec.Namespace }},
			column[wire.LogicalCloud]{"USER", func(l wire.LogicalCloud) any { return l.Spec.User.UserName }},
			column[wire.LogicalCloud]{"KEY", func(l wire.LogicalCloud) any { return l.Spec.KeyAlgorithm }},
			column[wire.LogicalCloud]{"EXPIRATION", func(l wire.LogicalCloud) any { return expiration(l.Spec.ExpirationSeconds) }},
			column[wire.LogicalCloud]{"LABELS", func(l wire.LogicalCloud) any { return pairs(l.Spec.Labels) }},
		),
		objects: func(c *client.Client, p []string) objects[wire.LogicalCloud] {
			return c.LogicalClouds(p[0])
		},
	}
}

func expiration(seconds int64) string {
	if seconds == 0 {
		return "the signer's"
	}
	return (time.Duration(seconds) * time.Second).String()
}

// pairs writes a=1,b=2.
func pairs(of map[string]string) string {
	var texts []string
	for key, value := range of {
		texts = append(texts, key+"="+value)
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

var keyAlgorithms = []string{string(wire.KeyAlgorithmECDSAP256), string(wire.KeyAlgorithmRSA4096), string(wire.KeyAlgorithmEd25519)}

// cloudFields holds the flags of clouds create and change.
type cloudFields struct {
	namespace, user, algorithm, expiration string
	labels                                 map[string]string

	seconds int64
}

func (f *cloudFields) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.namespace, "namespace", "", "the cloud's namespace in each cluster (required to create)")
	flags.StringVar(&f.user, "user", "", "name of the user who logs in (required to create)")
	flags.StringToStringVar(&f.labels, "label", nil, "labels of the namespace, as in team=web; repeat it, or separate by commas")
	flags.StringVar(&f.algorithm, "key-algorithm", string(wire.KeyAlgorithmECDSAP256), "of the user's key: "+strings.Join(keyAlgorithms, ", "))
	flags.StringVar(&f.expiration, "expiration", "0", "life of the certificates, from 10m to 3650d; 0 leaves it to the cluster's signer")
	complete(cmd, "key-algorithm", keyAlgorithms...)
}

func (f *cloudFields) check(cmd *cobra.Command, fresh bool) error {
	if fresh {
		if err := requireFlags(cmd, "namespace", "user"); err != nil {
			return err
		}
	}
	at := slices.IndexFunc(keyAlgorithms, func(name string) bool { return strings.EqualFold(name, f.algorithm) })
	if at < 0 {
		return usagef("--key-algorithm %q: choose one of %s", f.algorithm, strings.Join(keyAlgorithms, ", "))
	}
	f.algorithm = keyAlgorithms[at]
	life, err := parseDays(f.expiration)
	if err != nil || life != 0 && (life < 10*time.Minute || life > 3650*24*time.Hour) || life%time.Second != 0 {
		return usagef("--expiration %q: want whole seconds from 10m to 3650d, such as 8760h or 90d, or 0 to leave it to the signer", f.expiration)
	}
	f.seconds = int64(life / time.Second)
	return nil
}

func (f *cloudFields) apply(_ context.Context, cmd *cobra.Command, _ *client.Client, _ []string, l *wire.LogicalCloud) error {
	fresh := l.Spec.Namespace == ""
	l.Status = wire.LogicalCloudSummary{}
	for flag, set := range map[string]func(){
		"namespace":     func() { l.Spec.Namespace = f.namespace },
		"user":          func() { l.Spec.User.UserName = f.user },
		"label":         func() { l.Spec.Labels = f.labels },
		"key-algorithm": func() { l.Spec.KeyAlgorithm = wire.KeyAlgorithm(f.algorithm) },
		"expiration":    func() { l.Spec.ExpirationSeconds = f.seconds },
	} {
		if fresh || cmd.Flags().Changed(flag) {
			set()
		}
	}
	return nil
}
