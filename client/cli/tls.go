package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client/pki"
)

func (a *app) tlsCommand() *cobra.Command {
	return group("tls", "make certificates for nodes and callers, and look at them",
		a.tlsInitCommand(), a.tlsClientCommand(), a.tlsShowCommand())
}

// certificates holds the flags of commands that make certificates.
type certificates struct {
	out               string
	nodes, apiNames   []string
	domains, callers  []string
	authorityLifetime time.Duration
	lifetime          time.Duration
	role              string
}

const tlsInitHelp = `Make the certificates of a cluster, for those who have no authority of their own.

Two authorities are made in --out, one for the API and its callers, one for the
members alone, unless they are there already: then they are used again, so that a
node can be added, or the certificates of nodes renewed, with the same command.
Authorities are never overwritten; what they vouch for is made anew with new keys.

--nodes names every node and the hosts under which it is reached, without ports:
--nodes n1=n1.example,10.0.0.1,n2=n2.example. Members check each other's hosts.`

func (a *app) tlsInitCommand() *cobra.Command {
	c := &certificates{}
	cmd := &cobra.Command{
		Use: "init", Short: "make two authorities, and certificates for every node", Long: tlsInitHelp, Args: noArguments,
		Example: "  keysteward tls init --out certificates --nodes n1=n1.example,n2=n2.example,n3=n3.example --client alice=admin",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "out", "nodes"); err != nil {
				return err
			}
			return tlsFailure(c.init(cmd))
		},
	}
	f := cmd.Flags()
	c.addTo(cmd, pki.Lifetime)
	f.StringSliceVar(&c.nodes, "nodes", nil, "nodes and their hosts: NAME=HOST[,HOST…],NAME=HOST… (required)")
	f.StringSliceVar(&c.apiNames, "api-names", nil, "further names of the API on every node, such as localhost,127.0.0.1 or that of a load balancer")
	f.StringSliceVar(&c.domains, "domains", nil, "the authorities can vouch for names in these domains, and for loopback, only (default: for all names)")
	f.StringSliceVar(&c.callers, "client", nil, "certificates for callers besides, for 90 days at most: NAME[=ROLE],… with "+strings.Join(pki.Roles(), ", "))
	f.DurationVar(&c.authorityLifetime, "ca-lifetime", pki.AuthorityLifetime, "how long the authorities are valid, when they are made")
	return cmd
}

func (c *certificates) addTo(cmd *cobra.Command, lifetime time.Duration) {
	cmd.Flags().StringVar(&c.out, "out", "", "folder of authorities and certificates (required)")
	cmd.Flags().DurationVar(&c.lifetime, "lifetime", lifetime, "how long the certificates are valid")
	_ = cmd.MarkFlagDirname("out")
}

func (c *certificates) init(cmd *cobra.Command) error {
	nodes, err := pki.ParseNodes(c.nodes)
	if err != nil {
		return usagef("--nodes: %w", err)
	}
	callers := make([]pki.Caller, 0, len(c.callers))
	for _, text := range c.callers {
		caller, err := pki.ParseCaller(text)
		if err != nil {
			return usagef("--client: %w", err)
		}
		callers = append(callers, caller)
	}
	if c.lifetime <= 0 || c.authorityLifetime <= 0 {
		return usagef("--lifetime %s, --ca-lifetime %s: want more than 0", c.lifetime, c.authorityLifetime)
	}
	folder, err := pki.InitFolder(c.out, c.domains, c.authorityLifetime, time.Now())
	if err != nil {
		return err
	}
	if !folder.Fresh && len(c.domains) > 0 {
		return usagef("--domains: the authorities in %s are there already, and stay as they are", c.out)
	}
	w := cmd.OutOrStdout()
	if folder.Fresh {
		fmt.Fprintf(w, "made the authorities in %s: keep the keys there off the nodes, in a safe place\n", filepath.Join(c.out, "ca"))
	} else {
		fmt.Fprintf(w, "used the authorities in %s\n", filepath.Join(c.out, "ca"))
	}
	for _, n := range nodes {
		dir, err := folder.IssueNode(n, c.apiNames, c.lifetime)
		if err != nil {
			return err
		}
		explainNode(w, n, dir)
	}
	for _, caller := range callers {
		if err := issueCaller(w, folder, caller, min(c.lifetime, callerLifetime)); err != nil {
			return err
		}
	}
	return nil
}

// explainNode says what to do with the files of a node.
func explainNode(w io.Writer, n pki.Node, dir string) {
	in := func(name string) string { return filepath.Join(dir, name) }
	fmt.Fprintf(w, `
%s (%s): put %s on the node, readable for it alone, and start it with
  --tls-cert %s --tls-key %s --tls-client-ca %s
  --raft-tls-cert %s --raft-tls-key %s --raft-tls-ca %s
`, n.Name, strings.Join(n.Hosts, ", "), dir,
		in("api.crt"), in("api.key"), in("api-ca.crt"), in("raft.crt"), in("raft.key"), in("raft-ca.crt"))
}

func issueCaller(w io.Writer, folder *pki.Folder, caller pki.Caller, lifetime time.Duration) error {
	path, err := folder.IssueCaller(caller, lifetime)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, `
%s (role %s): give these files to the caller, who uses them with
  --ca-file %s --client-cert %s --client-key %s
`, caller.Name, caller.Role, filepath.Join(filepath.Dir(path), "api-ca.crt"), path+".crt", path+".key")
	return nil
}

const callerLifetime = 90 * 24 * time.Hour

func (a *app) tlsClientCommand() *cobra.Command {
	c := &certificates{}
	cmd := &cobra.Command{
		Use: "client NAME", Short: "make a certificate for a caller of the API", Args: oneArgument("name"),
		Long: `Make a certificate with which a person or a program calls the API, in place of a
token. It is by the API's authority in --out, which keysteward tls init made. The
certificate's subject has the name as CN and keysteward:ROLE as O.

A certificate can not be taken back: give it a short --lifetime.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requireFlags(cmd, "out"); err != nil {
				return err
			}
			caller, err := pki.ParseCaller(args[0] + "=" + c.role)
			switch {
			case err != nil:
				return usagef("%w", err)
			case c.lifetime <= 0:
				return usagef("--lifetime %s: want more than 0", c.lifetime)
			}
			folder, err := pki.OpenFolder(c.out, time.Now())
			if err != nil {
				return tlsFailure(fmt.Errorf("--out %s: %w (keysteward tls init makes it)", c.out, err))
			}
			return tlsFailure(issueCaller(cmd.OutOrStdout(), folder, caller, c.lifetime))
		},
	}
	c.addTo(cmd, callerLifetime)
	cmd.Flags().StringVar(&c.role, "role", "viewer", strings.Join(pki.Roles(), ", "))
	complete(cmd, "role", pki.Roles()...)
	return cmd
}

func (a *app) tlsShowCommand() *cobra.Command {
	o := &output{}
	cmd := &cobra.Command{
		Use: "show FOLDER|FILE", Short: "show for whom certificates are and when they end", Args: oneArgument("folder or file"),
		RunE: o.checked(func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			list, err := pki.Inspect(args[0], now)
			if err != nil {
				return err //nolint:wrapcheck // says what it is
			}
			return o.print(cmd.OutOrStdout(), list, func(g *grid) {
				g.row("FILE", "SUBJECT", "HOSTS", "USE", "ISSUER", "ENDS", "STATE")
				for _, c := range list {
					state := c.State
					if days := int(c.NotAfter.Sub(now).Hours() / 24); state == "valid" {
						state = "valid, " + plural(days, "day")
					}
					g.row(c.File, c.Subject, strings.Join(c.Hosts, " "), strings.Join(c.Uses, " "), c.Issuer, c.NotAfter.Format(time.DateTime), state)
				}
			})
		}),
	}
	o.addTo(cmd)
	return cmd
}

// tlsFailure makes names that can not be used a mistake of who typed them.
func tlsFailure(err error) error {
	if errors.Is(err, pki.ErrName) {
		return UsageError(err)
	}
	return err
}
