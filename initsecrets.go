package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/keysteward/keysteward/client/cli"
	"github.com/keysteward/keysteward/client/pki"
	"github.com/keysteward/keysteward/cluster/deploy/secrets"
	"github.com/keysteward/keysteward/node/kubernetes"
)

// namespaceFile is where a pod finds the name of its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

const initSecretsHelp = `Make the Secrets that a cluster in Kubernetes needs before its first start, as
far as they are not there: the key-encryption key (--kek), the certificates of the
nodes (--api-tls, --raft-tls) with an authority for each (PREFIX-api-ca, PREFIX-raft-ca),
and the certificate of a first admin (--admin, in PREFIX-admin).

Nothing that is there is changed, so it can be repeated at any time: a certificate
that was deleted is made anew by the same authority. A key-encryption key that was
made once and is gone is not made anew, since another one could open nothing. Nor is
one that is --given: it has to be there.

The Helm chart and the kustomize base run it as a Job.`

// newInitSecretsCommand is for the Job that runs before a cluster in Kubernetes.
func newInitSecretsCommand() *cobra.Command {
	var plan secrets.Plan
	var source, namespace string
	cmd := &cobra.Command{
		Use:   "init-secrets --kubernetes in-cluster|FILE",
		Short: "Make the Secrets of a cluster in Kubernetes",
		Long:  initSecretsHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := plan.Check(); err != nil {
				return cli.UsageError(err)
			}
			if namespace == "" {
				text, err := os.ReadFile(namespaceFile)
				if err != nil {
					return cli.UsageError(errors.New("--namespace is required outside of a pod"))
				}
				namespace = strings.TrimSpace(string(text))
			}
			config, err := kubernetes.Config(source)
			if err != nil {
				return cli.UsageError(fmt.Errorf("--kubernetes: %w", err))
			}
			client, err := core.NewForConfig(config)
			if err != nil {
				return fmt.Errorf("--kubernetes: %w", err)
			}
			return secrets.Ensure(cmd.Context(), client.Secrets(namespace), plan, time.Now(), cmd.OutOrStdout()) //nolint:wrapcheck // says what it is
		},
	}
	f := cmd.Flags()
	f.StringVar(&source, "kubernetes", kubernetes.InCluster, "API of Kubernetes: in-cluster, or the file of a kubeconfig")
	f.StringVar(&namespace, "namespace", "", "namespace of the Secrets (default: that of the pod)")
	f.StringVar(&plan.Prefix, "prefix", "keysteward", "what names of Secrets without a flag of their own begin with")
	f.StringVar(&plan.KEK, "kek", "", "Secret for the key-encryption key; none is made without it")
	f.StringVar(&plan.APITLS, "api-tls", "", "Secret for the certificate of the API; none is made without it")
	f.StringVar(&plan.RaftTLS, "raft-tls", "", "Secret for the certificate for the other members; none is made without it")
	f.StringSliceVar(&plan.Given, "given", nil, "those of the Secrets above that somebody else makes: if one is missing nothing is made")
	f.StringSliceVar(&plan.Hosts, "hosts", nil, "hosts of all nodes")
	f.StringSliceVar(&plan.APINames, "api-names", nil, "further names of the API, such as those of Services")
	f.DurationVar(&plan.Lifetime, "lifetime", pki.Lifetime, "how long the nodes' certificates are valid")
	f.StringVar(&plan.Admin, "admin", "", "name of the first admin; none is made without it")
	f.DurationVar(&plan.AdminLifetime, "admin-lifetime", 90*24*time.Hour, "how long the admin's certificate is valid")
	return cmd
}
