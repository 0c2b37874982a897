package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/kubefile"
	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

const registerHelp = `The servers log in to the Kubernetes cluster with one context of a kubeconfig: the
current one, or that of --context. Files that it refers to are read here and sent
along; nothing else of it is. It is kept sealed, and never shown again.

It must log in with a client certificate or a token that lasts. One that runs a
program (exec), asks a proxy, trusts any server or acts as somebody else is
refused. What the account needs in the cluster: namespaces, resource quotas, roles,
role bindings, cluster roles and cluster role bindings (get, list, create, patch,
delete; with the verbs bind and escalate for the roles), certificate signing requests
(get, list, watch, create, delete), update of certificatesigningrequests/approval,
and approve on signers with the name kubernetes.io/kube-apiserver-client.

Nothing connects to the cluster now: "clouds status" tells what goes wrong later.

` + exitHelp

func (a *app) kubernetesClustersCommand() *cobra.Command {
	k := kubernetesClusterKind()
	f, g := &registration{}, &registration{}
	register := f.command(a, "register PROVIDER CLUSTER --kubeconfig FILE", "tell of a Kubernetes cluster, and how to log in to it", f.register)
	register.Example = `  keysteward clouds clusters register acme eu --kubeconfig eu.kubeconfig
  keysteward clouds clusters register acme us --kubeconfig ~/.kube/config --context us-admin`
	update := g.command(a, "update PROVIDER CLUSTER --kubeconfig FILE", "give a Kubernetes cluster another kubeconfig", g.update)
	return group("clusters", "the Kubernetes clusters that logical clouds can be in",
		register, update, k.listCommand(a), k.getCommand(a), a.forgetCommand())
}

func kubernetesClusterKind() kind[wire.KubernetesCluster] {
	metadata := func(k *wire.KubernetesCluster) *wire.ObjectMetadata { return &k.Metadata }
	return kind[wire.KubernetesCluster]{
		one: "Kubernetes cluster", parents: []string{"cluster provider"}, metadata: metadata,
		columns: describedColumns(metadata,
			column[wire.KubernetesCluster]{"SERVER", func(k wire.KubernetesCluster) any { return k.Status.Server }},
			column[wire.KubernetesCluster]{"AUTHORITY", func(k wire.KubernetesCluster) any { return authorityOf(k) }},
			column[wire.KubernetesCluster]{"REGISTERED", func(k wire.KubernetesCluster) any { return moment(k.Status.Created) }},
		),
		objects: func(c *client.Client, p []string) objects[wire.KubernetesCluster] {
			return c.KubernetesClusters(p[0])
		},
	}
}

func authorityOf(k wire.KubernetesCluster) string {
	switch {
	case k.Status.Server == "":
		return ""
	case k.Status.Authority:
		return "its own"
	}
	return "public"
}

// moment writes a time, and nothing for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// registration holds the flags of clusters register and update.
type registration struct {
	listing

	description         describing
	kubeconfig, context string
}

func (f *registration) command(a *app, use, short string, run func(context.Context, *cobra.Command, *client.Client, []string) error) *cobra.Command {
	cmd := f.listing.command(a, use, short, namedArguments("cluster provider", "Kubernetes cluster"), run)
	cmd.Long = strings.ToUpper(short[:1]) + short[1:] + ".\n\n" + registerHelp
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return requireFlags(cmd, "kubeconfig") }
	f.description.addTo(cmd)
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file with the cluster (required)")
	cmd.Flags().StringVar(&f.context, "context", "", "the context to take (default: its current one)")
	_ = cmd.MarkFlagFilename("kubeconfig")
	return cmd
}

// read flattens the kubeconfig and refuses here what the servers would refuse.
func (f *registration) read() (kubeconfig.Cluster, error) {
	if _, err := os.Stat(f.kubeconfig); err != nil {
		return kubeconfig.Cluster{}, fmt.Errorf("--kubeconfig: %w", err)
	}
	flat, err := kubefile.Flatten(f.kubeconfig, f.context)
	if err != nil {
		return kubeconfig.Cluster{}, err
	}
	defer clear(flat)
	cluster, err := kubeconfig.Parse(flat)
	if err != nil {
		return cluster, fmt.Errorf("%s: %w", f.kubeconfig, err)
	}
	return cluster, nil
}

func (f *registration) register(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
	return f.send(ctx, cmd, args, wire.ObjectMetadata{Name: args[1]}, "registered", c.KubernetesClusters(args[0]).Register)
}

func (f *registration) update(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
	old, err := c.KubernetesClusters(args[0]).Get(ctx, args[1])
	if err != nil {
		return err
	}
	return f.send(ctx, cmd, args, old.Metadata, "changed", c.KubernetesClusters(args[0]).Replace)
}

func (f *registration) send(ctx context.Context, cmd *cobra.Command, args []string, metadata wire.ObjectMetadata, past string,
	send func(context.Context, wire.ObjectMetadata, []byte) (wire.KubernetesCluster, error),
) error {
	cluster, err := f.read()
	if err != nil {
		return err
	}
	f.description.apply(cmd, &metadata)
	text := cluster.Canonical()
	defer clear(text)
	kept, err := send(ctx, metadata, text)
	if err != nil {
		return err
	}
	if ends := cluster.NotAfter(); !ends.IsZero() && !f.quiet {
		fmt.Fprintln(cmd.ErrOrStderr(), endingNote(ends, strings.Join(args, " ")))
	}
	return f.tell(cmd.OutOrStdout(), kept, fmt.Sprintf("Kubernetes cluster %s at %s is %s", strings.Join(args, "/"), cluster.Server, past))
}

// endingNote reminds of a credential that ends.
func endingNote(ends time.Time, args string) string {
	state := "is good until"
	if time.Now().After(ends) {
		state = "has EXPIRED at"
	}
	return fmt.Sprintf("note: the client certificate in it %s %s; renew it with keysteward clouds clusters update %s", state, moment(ends), oneLine(args))
}

// forgetCommand is deleteCommand with what it does not do.
func (a *app) forgetCommand() *cobra.Command {
	cmd := kubernetesClusterKind().deleteCommand(a)
	cmd.Use = "delete PROVIDER CLUSTER"
	cmd.Long = `Forgets a Kubernetes cluster and its kubeconfig. It is refused while a cluster
reference names it, or a logical cloud has something there.

` + exitHelp
	return cmd
}
