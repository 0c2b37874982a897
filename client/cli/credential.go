package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/credential"
)

// cacheFor is how long a certificate is served without asking.
const cacheFor = time.Minute

// plugging holds the flags of credential.
type plugging struct {
	connection

	project, cloud, reference string
	cacheFor                  time.Duration
}

func (a *app) credentialCommand() *cobra.Command {
	f := &plugging{}
	cmd := &cobra.Command{
		Use:   "credential --project PROJECT --cloud CLOUD --ref REFERENCE",
		Short: "tell kubectl the current certificate of a logical cloud's user",
		Long: `Is run by kubectl, and everything else that is made with client-go, for kubeconfigs of
"keysteward kubeconfig get --exec": a credential plug-in of the version
client.authentication.k8s.io/v1. It writes certificate and PRIVATE KEY to standard
output.

The current certificate is kept in a file that only you can read, in the folder
keysteward/credentials of $XDG_CACHE_HOME (or ~/.cache). After --cache-for the cluster
is asked whether there is another one, so a key that was rotated is picked up within
that time. While the cluster does not answer the kept one is used until it expires.
When the cluster refuses, it is removed.

` + exitHelp,
		Example: "  keysteward credential --project shop --cloud web --ref eu --server https://node-1:8443 --token-file token",
		Args:    noArguments,
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
			return f.run(ctx, cmd, a, c)
		}),
	}
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return f.check(cmd, a) }
	f.addTo(cmd, defaultTimeout)
	flags := cmd.Flags()
	flags.StringVar(&f.project, "project", "", "project of the logical cloud (required)")
	flags.StringVar(&f.cloud, "cloud", "", "the logical cloud (required)")
	flags.StringVar(&f.reference, "ref", "", "the cluster reference (required)")
	flags.DurationVar(&f.cacheFor, "cache-for", cacheFor, "serve a certificate for so long without asking; 0 keeps none")
	return cmd
}

func (f *plugging) check(cmd *cobra.Command, a *app) error {
	if err := requireFlags(cmd, "project", "cloud", "ref"); err != nil {
		return err
	}
	if f.cacheFor < 0 {
		return usagef("--cache-for %s is negative", f.cacheFor)
	}
	info, _ := a.lookupEnv(credential.ExecInfo)
	if err := credential.CheckExecInfo(info); err != nil {
		return usageError{err}
	}
	return nil
}

func (f *plugging) run(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client) error {
	log := f.logger(cmd)
	source := &credential.Source{
		For: f.cacheFor, Means: meaning,
		Warn: func(err error) { log.WarnContext(ctx, "go on", "reason", err.Error()) },
		Fetch: func(ctx context.Context, wait bool) (credential.Credential, error) {
			return f.fetch(ctx, c, wait)
		},
		Current: func(ctx context.Context, kept credential.Credential) (bool, error) {
			return f.current(ctx, c, kept)
		},
	}
	if f.cacheFor > 0 {
		cache, err := f.cache(a)
		if err != nil {
			source.Warn(err)
		}
		source.Cache = cache
	}
	found, until, err := source.Get(ctx)
	if err != nil {
		return err
	}
	defer clear(found.Key)
	return credential.Write(cmd.OutOrStdout(), found, until)
}

// fetch gets the kubeconfig and takes the certificate out of it.
func (f *plugging) fetch(ctx context.Context, c *client.Client, wait bool) (credential.Credential, error) {
	o := client.KubeconfigOptions{Project: f.project, Cloud: f.cloud, Reference: f.reference, Hold: -1}
	text, err := c.Kubeconfig(ctx, o)
	if _, pending := errors.AsType[*client.KubeconfigPendingError](err); pending && wait {
		o.Hold = 0
		text, err = c.AwaitKubeconfig(ctx, o, nil)
	}
	if err != nil {
		return credential.Credential{}, err
	}
	defer clear(text)
	return credential.FromKubeconfig(text)
}

// current tells whether a certificate is the newest one that the cluster has stored.
func (f *plugging) current(ctx context.Context, c *client.Client, kept credential.Credential) (bool, error) {
	status, err := c.CloudStatus(ctx, f.project, f.cloud)
	if err != nil {
		return false, err
	}
	for _, cluster := range status.Clusters {
		if cluster.Reference == f.reference {
			return cluster.Certificate.Serial == kept.Serial, nil
		}
	}
	return false, nil
}

// meaning is what an error of the client says about a certificate that is kept.
func meaning(err error) credential.Meaning {
	if _, ok := errors.AsType[*client.KubeconfigPendingError](err); ok {
		return credential.Pending
	}
	problem, answered := errors.AsType[*client.Problem](err)
	switch {
	case errors.Is(err, client.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), answered && problem.Status >= 500:
		return credential.Away
	case answered:
		return credential.Gone
	}
	return credential.Failed
}

// cache is the file for this cloud and cluster, as it is asked for here.
func (f *plugging) cache(a *app) (*credential.Cache, error) {
	folder, found := a.lookupEnv("XDG_CACHE_HOME")
	if !found || !filepath.IsAbs(folder) {
		var err error
		if folder, err = os.UserCacheDir(); err != nil {
			return nil, err
		}
	}
	subject := strings.Join([]string{
		strings.Join(slices.Sorted(slices.Values(f.servers)), ","), f.project, f.cloud, f.reference, f.tokenFile, f.cert,
	}, "\n")
	return credential.OpenCache(filepath.Join(folder, "keysteward", "credentials"), subject)
}
