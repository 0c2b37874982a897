package faults

import (
	"context"
	"fmt"
	"time"
)

// Links are what is between the nodes: wires, or a network of namespaces. Nodes count
// from 0.
type Links interface {
	// Block drops what one node sends to another, until undo is called.
	Block(from, to int) (undo func())
	// Delay has it arrive so much later, until undo is called.
	Delay(from, to int, by time.Duration) (undo func())
	// Scatter has what each connection brings there arrive later by a time of its own, from
	// nothing to most: what is said first in one may be heard after what is said later in
	// another. Until undo is called.
	Scatter(from, to int, most time.Duration) (undo func())
}

// Blocked drops what one node sends to another, and nothing else.
func Blocked(l Links, from, to int) Fault {
	return onLinks(fmt.Sprintf("%s not heard by %s", NodeName(from), NodeName(to)), func() []func() { return []func(){l.Block(from, to)} })
}

// Isolated separates a node from the count-1 others, both ways.
func Isolated(l Links, i, count int) Fault {
	return onLinks(NodeName(i)+" isolated", func() (all []func()) {
		for other := range count {
			if other != i {
				all = append(all, l.Block(i, other), l.Block(other, i))
			}
		}
		return all
	})
}

// Delayed has everything between a node and the others arrive later, both ways.
func Delayed(l Links, i, count int, by time.Duration) Fault {
	return onLinks(fmt.Sprintf("%s late by %s", NodeName(i), by), func() (all []func()) {
		for other := range count {
			if other != i {
				all = append(all, l.Delay(i, other, by), l.Delay(other, i, by))
			}
		}
		return all
	})
}

func onLinks(name string, do func() []func()) Fault {
	return New(name, func(context.Context) (func(context.Context) error, error) {
		all := do()
		return func(context.Context) error {
			for _, undo := range all {
				undo()
			}
			return nil
		}, nil
	})
}
