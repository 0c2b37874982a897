package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

// auditList holds the flags of audit list.
type auditList struct {
	listing

	filter client.AuditFilter
	from   int64
	last   int
}

func (a *app) auditCommand() *cobra.Command {
	l := &auditList{}
	list := l.command(a, "list", "list who did what", noArguments, l.run)
	flags := list.Flags()
	flags.StringVar(&l.filter.Action, "action", "", "only this action, such as key.disclose, or all that begin with key.")
	flags.StringVar(&l.filter.Caller, "caller", "", "only what the caller with this name did")
	flags.StringVar(&l.filter.Object, "object", "", "only what was done to this object, such as default/validator-0 or a public key")
	flags.Int64Var(&l.from, "from", 0, "sequence number to begin at (default: the oldest that is kept)")
	flags.IntVar(&l.last, "last", 0, "only so many, the newest (default: all)")
	return group("audit", "read and verify the record of who did what", list, a.auditVerifyCommand())
}

// auditListing is what audit list prints.
type auditListing struct {
	Records []wire.AuditRecord `json:"records"`
	Anchor  wire.AuditHead     `json:"anchor"`
	Head    wire.AuditHead     `json:"head"`
}

func (l *auditList) run(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	if l.from < 0 || l.last < 0 {
		return usagef("--from and --last are not negative")
	}
	all := auditListing{Records: []wire.AuditRecord{}}
	for from, more := l.from, true; more; {
		page, err := c.AuditPage(ctx, l.filter, from)
		if err != nil {
			return err
		}
		all.Records = append(all.Records, page.Records...)
		if n := len(all.Records); l.last > 0 && n > l.last {
			all.Records = slices.Clone(all.Records[n-l.last:])
		}
		all.Anchor, all.Head = page.Anchor, page.Head
		from, more = page.NextFrom, page.NextFrom != 0
	}
	return l.print(cmd.OutOrStdout(), all, func(g *grid) { auditTable(g, all) })
}

func auditTable(g *grid, all auditListing) {
	g.row("SEQ", "TIME", "CALLER", "FROM", "ACTION", "OBJECT", "OUTCOME", "DETAIL")
	for _, r := range all.Records {
		g.row(r.Seq, time.UnixMilli(r.WallMs).UTC().Format("2006-01-02 15:04:05Z"), callerText(r.Caller), r.Caller["remote"], r.Action, r.Object, r.Outcome, r.Detail)
	}
	g.note("%s; kept are those from %d to %d", plural(len(all.Records), "record"), all.Anchor.Seq+1, all.Head.Seq)
}

// callerText is a caller's name and role, and then what else is known but the address.
func callerText(caller map[string]string) string {
	text := caller["name"]
	if role := caller["role"]; role != "" {
		text += " (" + role + ")"
	}
	var more []string
	for _, field := range slices.Sorted(maps.Keys(caller)) {
		if field != "name" && field != "role" && field != "remote" {
			more = append(more, field+"="+caller[field])
		}
	}
	return strings.TrimSpace(fmt.Sprint(text, " ", strings.Join(more, " ")))
}
