package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

var tokenRoles = []string{string(wire.TokenRoleAdmin), string(wire.TokenRoleOperator), string(wire.TokenRoleViewer)}

func (a *app) tokensCommand() *cobra.Command {
	list, revoke, confirm := &listing{}, &revocation{}, &confirmTokens{}
	return group("tokens", "say who may call the cluster",
		a.createTokenCommand(),
		list.command(a, "list", "list the bearer tokens, without anything that lets somebody in", noArguments, list.tokens),
		revoke.command(a), confirm.command(a))
}

// minting holds the flags of tokens create.
type minting struct {
	connection
	output

	role                 string
	namespaces, projects []string
	expiresIn            string
	out                  string
}

func (a *app) createTokenCommand() *cobra.Command {
	f := &minting{}
	cmd := &cobra.Command{
		Use:   "create NAME --role ROLE",
		Short: "make a bearer token",
		Long: `Makes a bearer token and lets its owner in. The token is made here and shown once,
on standard output; the cluster is sent its SHA-256 and never sees it before it is
used. --out writes it to a new file that only you can read instead.

Roles: an admin may do everything, an operator hands out and takes back keys, a
viewer looks. With --namespace or --project the token is good for these only, and
for nothing that concerns the whole cluster. Pods need no token of this kind: their
projected service-account token lets them in.

` + exitHelp,
		Args: oneArgument("name"),
		RunE: f.checked(f.with(a, f.run)),
	}
	f.connection.addTo(cmd, defaultTimeout)
	f.output.addTo(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.role, "role", "", strings.Join(tokenRoles, ", ")+" (required)")
	flags.StringSliceVar(&f.namespaces, "namespace", nil, "limit it to these namespaces of pods")
	flags.StringSliceVar(&f.projects, "project", nil, "limit it to these projects of logical clouds")
	flags.StringVar(&f.expiresIn, "expires-in", "90d", "how long it is good for, such as 12h or 30d; 0 means for ever")
	flags.StringVar(&f.out, "out", "", "write the token to this file, which must not be there")
	complete(cmd, "role", tokenRoles...)
	_ = cmd.MarkFlagFilename("out")
	return cmd
}

func (f *minting) run(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) (err error) {
	grant, err := f.grant(cmd, args[0])
	if err != nil {
		return err
	}
	token := client.MintToken()
	if f.out != "" { // before the cluster is told: a token that nobody has is of no use
		if err := writeNewSecret(f.out, string(token)+"\n"); err != nil {
			return err
		}
		defer func() {
			if err != nil && !errors.Is(err, client.ErrOutcomeUnknown) {
				_ = os.Remove(f.out)
			}
		}()
	}
	made, err := c.CreateToken(ctx, token, grant)
	if err != nil {
		return err
	}
	if f.out == "" && f.form == outputTable {
		fmt.Fprintln(cmd.OutOrStdout(), string(token))
	}
	if f.form == outputTable {
		if !f.quiet {
			fmt.Fprintln(cmd.ErrOrStderr(), oneLine(fmt.Sprintf("token %s of %s with the role %s%s; %s", made.ID, made.Name, made.Role, limitsOf(made), expiryOf(made))))
		}
		return nil
	}
	shown := mintedToken{Token: made}
	if f.out == "" {
		shown.Secret = string(token)
	}
	return f.print(cmd.OutOrStdout(), shown, nil)
}

// mintedToken is a token as it is shown once, to whoever made it.
type mintedToken struct {
	wire.Token

	Secret string `json:"token,omitempty"`
}

// grant checks what was asked for before anybody is asked.
func (f *minting) grant(cmd *cobra.Command, name string) (client.TokenGrant, error) {
	grant := client.TokenGrant{Name: name, Role: wire.TokenRole(f.role), Namespaces: f.namespaces, Projects: f.projects}
	if err := requireFlags(cmd, "role"); err != nil {
		return grant, err
	}
	if !slices.Contains(tokenRoles, f.role) {
		return grant, usagef("--role %q: choose one of %s", f.role, strings.Join(tokenRoles, ", "))
	}
	for flag, list := range map[string][]string{"namespace": f.namespaces, "project": f.projects} {
		if slices.Contains(list, "") || len(list) == 0 && cmd.Flags().Changed(flag) {
			return grant, usagef("--%s is empty, which would be no limit", flag)
		}
	}
	lasts, err := parseExpiry(f.expiresIn)
	if err != nil {
		return grant, err
	}
	if lasts > 0 {
		grant.Expires = time.Now().Add(lasts).UTC().Truncate(time.Second)
	}
	return grant, nil
}

// parseExpiry reads a Go duration, or a number of days.
func parseExpiry(text string) (time.Duration, error) {
	d, err := parseDays(text)
	if err != nil || d < 0 || d > 0 && d < time.Minute {
		return 0, usagef("--expires-in: want a time from 1m on such as 12h or 30d, or 0 for ever")
	}
	return d, nil
}

// parseDays reads a Go duration, or a number of days such as 30d.
func parseDays(text string) (time.Duration, error) {
	number, inDays := strings.CutSuffix(text, "d")
	if inDays {
		text = number + "h"
	}
	d, err := time.ParseDuration(text)
	if inDays {
		if d > 0 && d > time.Duration(1<<62)/24 {
			err = errors.New("too long")
		}
		d *= 24
	}
	return d, err
}

// writeNewSecret writes a file that was not there and that nobody else can read.
func writeNewSecret(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(text); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return f.Sync() //nolint:wrapcheck // it names the file
}

func (l *listing) tokens(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	list, err := c.Tokens(ctx)
	if err != nil {
		return err
	}
	return l.print(cmd.OutOrStdout(), wire.TokenList{Tokens: list}, func(g *grid) {
		g.row("ID", "NAME", "ROLE", "NAMESPACES", "PROJECTS", "EXPIRES", "CREATED", "BY")
		for _, t := range list {
			g.row(t.ID, t.Name, t.Role, strings.Join(t.Namespaces, ","), strings.Join(t.Projects, ","), expiry(t), t.Created.UTC().Format(time.RFC3339), t.CreatedBy)
		}
		g.note("%s; those of the servers' --token-hashes are not listed", plural(len(list), "token"))
	})
}

func expiry(t wire.Token) string {
	switch {
	case t.Suspended:
		return "suspended by a restore"
	case t.Expires.IsZero():
		return "never"
	case t.Expired:
		return t.Expires.UTC().Format(time.RFC3339) + " (over)"
	}
	return t.Expires.UTC().Format(time.RFC3339)
}

func expiryOf(t wire.Token) string {
	if t.Expires.IsZero() {
		return "it never expires"
	}
	return "it expires at " + t.Expires.UTC().Format(time.RFC3339)
}

func limitsOf(t wire.Token) string {
	var text string
	if len(t.Namespaces) > 0 {
		text += ", limited to the namespaces " + strings.Join(t.Namespaces, ", ")
	}
	if len(t.Projects) > 0 {
		text += ", limited to the projects " + strings.Join(t.Projects, ", ")
	}
	return text
}

// revocation holds the flags of tokens revoke.
type revocation struct{ connection }

func (f *revocation) command(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "take a bearer token back",
		Long: `Takes a bearer token back, by the ID that tokens list shows. The leader refuses it
at once, the other servers as soon as they hear of it. One that is cut off from the
others goes on answering reads that may be stale (/assignments, --consistency
stale) to whoever has it; it can change nothing and give no secret away.

` + exitHelp,
		Args: oneArgument("token ID"),
		RunE: f.with(a, f.run),
	}
	f.addTo(cmd, defaultTimeout)
	return cmd
}

func (f *revocation) run(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
	if strings.HasPrefix(args[0], "kst_") {
		return usagef("this is a token and not its ID: give the ID that tokens list shows, and revoke the token, for a command line is no secret")
	}
	if err := c.RevokeToken(ctx, args[0]); err != nil || f.quiet {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), oneLine(fmt.Sprintf("token %s is revoked", args[0])))
	return nil
}
