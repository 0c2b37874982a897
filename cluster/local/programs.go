package local

import (
	"errors"
	"fmt"
	"os"
)

var errNoProgram = errors.New("no program beside the nodes is called")

// SignalProgram sends a signal to a program that was started beside the nodes; one that
// has ended is no error. It is safe for concurrent use once the program was started.
func (n *Nodes) SignalProgram(name string, sig os.Signal) error {
	for _, p := range n.others {
		if p.name == name {
			return p.signal(sig)
		}
	}
	return fmt.Errorf("%w %q", errNoProgram, name)
}

// LogFile is the file with the log of a node, from 0.
func (n *Nodes) LogFile(i int) string { return n.launcher.site.log(i) }

// Ended tells whether the process of a node, from 0, has ended, and how.
func (n *Nodes) Ended(i int) (how string, ended bool) {
	p := n.launcher.nodes.process(i)
	if p == nil || p.running() {
		return "", false
	}
	return p.outcome(), true
}
