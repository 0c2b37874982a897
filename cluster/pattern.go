package cluster

import (
	"net"
	"strconv"
	"strings"
)

// Pattern is what names and addresses of the founders have in common but for their
// ordinal, so that one more of their kind is known when it comes: after
// ks-0=ks-0.peers:8300 and ks-1=ks-1.peers:8300 comes ks-2 at ks-2.peers:8300. The
// zero Pattern fits nobody.
type Pattern struct {
	name          string // what stands before the ordinal
	before, after string // around the ordinal in the host
	port          string
	known         bool
}

// PatternOf finds the pattern. There is none if the names do not end in ordinals, or
// if the hosts do not hold these, or hold them in more than one way.
func PatternOf(founders []Peer) Pattern {
	if len(founders) == 0 {
		return Pattern{}
	}
	base, _, ok := ordinalOf(founders[0].Name)
	if !ok {
		return Pattern{}
	}
	fits := func(p Pattern) bool {
		for _, f := range founders {
			if !p.Fits(f) {
				return false
			}
		}
		return true
	}
	var found []Pattern
	for _, p := range candidates(base, founders[0]) {
		if fits(p) {
			found = append(found, p)
		}
	}
	for _, p := range found {
		if p.before == base { // the host begins with the name, as those of pods do
			return p
		}
	}
	if len(found) != 1 {
		return Pattern{}
	}
	return found[0]
}

// candidates are all places of the ordinal in a founder's host.
func candidates(base string, f Peer) (list []Pattern) {
	host, port, err := net.SplitHostPort(f.Raft)
	if err != nil {
		return nil
	}
	ordinal := strings.TrimPrefix(f.Name, base)
	for i := 0; i+len(ordinal) <= len(host); i++ {
		before, rest := host[:i], host[i:]
		after, here := strings.CutPrefix(rest, ordinal)
		if here && !endsInDigit(before) && !beginsWithDigit(after) {
			list = append(list, Pattern{name: base, before: before, after: after, port: port, known: true})
		}
	}
	return list
}

// Fits tells whether a node's name and address are of this kind.
func (p Pattern) Fits(node Peer) bool {
	base, ordinal, ok := ordinalOf(node.Name)
	host, port, err := net.SplitHostPort(node.Raft)
	return p.known && ok && err == nil && base == p.name && port == p.port && host == p.before+strconv.Itoa(ordinal)+p.after
}

// FitsHost tells whether a node of this kind may be at the host.
func (p Pattern) FitsHost(host string) bool {
	rest, ok := strings.CutPrefix(host, p.before)
	if !p.known || !ok {
		return false
	}
	ordinal, ok := strings.CutSuffix(rest, p.after)
	if !ok {
		return false
	}
	_, ok = parseOrdinal(ordinal)
	return ok
}

// ordinalOf cuts a name before its ordinal: ks-12 is ks- and 12.
func ordinalOf(name string) (base string, ordinal int, ok bool) {
	base = strings.TrimRight(name, "0123456789")
	ordinal, ok = parseOrdinal(name[len(base):])
	return base, ordinal, ok
}

const maxOrdinal = 9999

// parseOrdinal reads a number as it is written: without zeros before it.
func parseOrdinal(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= maxOrdinal && strconv.Itoa(n) == text
}

func endsInDigit(s string) bool     { return s != "" && isDigit(s[len(s)-1]) }
func beginsWithDigit(s string) bool { return s != "" && isDigit(s[0]) }
func isDigit(c byte) bool           { return '0' <= c && c <= '9' }
