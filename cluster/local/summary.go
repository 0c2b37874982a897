package local

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// summary tells a person what runs where, and what to try.
type summary struct {
	ClusterFile

	Leader            string // its ID
	Binary            string
	Launcher          int // PID
	Dir               string
	OperatorTokenFile string
	Next              int // number of the first example pod without keys and folder
}

// String returns the summary. Its commands can be pasted into any shell, in any folder.
func (s summary) String() string {
	var b strings.Builder
	page := s.Nodes[0].API + "/assignments"
	leader := s.Nodes[0]
	fmt.Fprintf(&b, "\nThe cluster runs.\n\n")
	for _, n := range s.Nodes {
		note := ""
		if n.ID == s.Leader {
			leader, note = n, "   leader"
		}
		fmt.Fprintf(&b, "  %-12s %s   PID %d%s\n", n.ID, n.API, n.PID, note)
	}
	fmt.Fprintf(&b, "\n  %-12s %s\n", "page", page)
	fmt.Fprintf(&b, "  %-12s %s   chain ID %d\n", "chain RPC", s.Chain.RPC, s.Chain.ChainID)
	fmt.Fprintf(&b, "  %-12s %s\n", "admin token", s.AdminTokenFile)
	if s.CAFile != "" {
		fmt.Fprintf(&b, "  %-12s %s\n", "authority", s.CAFile)
	}
	fmt.Fprintf(&b, "  %-12s %s\n", "for scripts", filepath.Join(s.Dir, ClusterFileName))
	fmt.Fprintf(&b, "\nTry in another terminal:\n")
	s.try(&b, "keys for another pod", s.allocate())
	s.try(&b, "kill the leader; the others go on", fmt.Sprintf("kill -9 %d", leader.PID))
	s.try(&b, "compare what was paid with the chain", s.verify())
	s.try(&b, "look at the page, or in a browser", s.look(page))
	fmt.Fprintf(&b, "\nTo start nodes again that have ended:\n\n  kill -HUP %d\n", s.Launcher)
	fmt.Fprintf(&b, "\nCtrl-C stops everything; the data stays in %s.\n", s.Dir)
	return b.String()
}

func (s summary) try(b *strings.Builder, what, command string) {
	fmt.Fprintf(b, "\n  # %s\n  %s\n", what, command)
}

func (s summary) allocate() string {
	pod := fmt.Sprintf("validator-%d", s.Next)
	return fmt.Sprintf("%s allocate %s --pod %s --keys 2 --out %s --layout teku",
		quote(s.Binary), s.access(), pod, quote(filepath.Join(s.Dir, "pods", pod)))
}

func (s summary) verify() string {
	return fmt.Sprintf("%s deposits verify %s --execution-rpc %s --deposit-contract %s --fork-version %s",
		quote(s.Binary), s.access(), s.Chain.RPC, s.Chain.DepositContract, s.Chain.ForkVersion)
}

func (s summary) access() string {
	urls := make([]string, len(s.Nodes))
	for i, n := range s.Nodes {
		urls[i] = n.API
	}
	access := "--server " + strings.Join(urls, ",") + " --token-file " + quote(s.OperatorTokenFile)
	if s.CAFile != "" {
		access += " --ca-file " + quote(s.CAFile)
	}
	return access
}

// look shows the page with what this machine has.
func (s summary) look(page string) string {
	if _, err := exec.LookPath("curl"); err == nil {
		if s.CAFile != "" {
			return "curl -s --cacert " + quote(s.CAFile) + " " + page
		}
		return "curl -s " + page
	}
	return quote(s.Binary) + " assignments " + s.access()
}

// quote makes one word of a shell out of a path.
func quote(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,=", r)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
