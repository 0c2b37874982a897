package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/keysteward/keysteward/cluster/await"
	"github.com/keysteward/keysteward/cluster/chaos/answers"
	"github.com/keysteward/keysteward/cluster/chaos/books"
)

const (
	// settleTime is how long it may take after a trial until nothing is under way and
	// all nodes know the same.
	settleTime = 30 * time.Second
)

var errUnsettled = errors.New("the nodes and the chain do not come to rest")

// try makes one trial and returns the violations that it shows. The error is that
// of a stage on which nothing can be tried any more.
func (s *stage) try(ctx context.Context, t trial) ([]string, error) {
	asking := &asking{stage: s}
	patience, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	// However this ends, nobody is held and nobody asks when it returns.
	defer func() { cancel(); <-asking.all(); _ = s.points.Release(t.point) }()
	if t.dear {
		if err := s.price(ctx, priceDear); err != nil {
			return nil, err
		}
	}
	if err := s.points.Arm(t.point); err != nil {
		return nil, err //nolint:wrapcheck // says what it is
	}
	asking.ask(patience, t, t.early)
	var found []string
	if err := s.torment(ctx, patience, t, asking); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) //nolint:wrapcheck // says who
		}
		found = append(found, fmt.Sprintf("%s: %v", t, err))
	}
	<-asking.all()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx) //nolint:wrapcheck // says who
	}
	more, err := s.settle(ctx)
	return append(found, more...), err
}

// torment catches the leader, strikes it, and heals it.
func (s *stage) torment(ctx, patience context.Context, t trial, asking *asking) error {
	member, err := s.catch(ctx, t)
	if err != nil {
		return errors.Join(err, s.points.Release(t.point), s.price(ctx, priceUsual))
	}
	if err := s.strike(ctx, t, member); err != nil {
		return err
	}
	asking.ask(patience, t, t.late)
	healed := t.heal == atOnce
	if healed {
		err = s.heal(ctx, t, member)
	} else {
		err = s.awaitOther(ctx, member)
	}
	// Also when something went wrong the leader goes on and the fault ends.
	err = errors.Join(err, s.points.Release(t.point), s.price(ctx, priceUsual))
	if t.heal == answered && err == nil {
		<-asking.all()
	}
	if !healed {
		err = errors.Join(err, s.heal(ctx, t, member))
	}
	return err
}

// settle waits until all is at rest and right. If it does not come to that, it
// returns what is not.
func (s *stage) settle(ctx context.Context) ([]string, error) {
	if err := s.nodes.AwaitReady(ctx); err != nil {
		return []string{fmt.Sprintf("not all nodes came back: %v", err)}, nil
	}
	if ended := s.nodes.Losses(); ended != s.kills {
		return []string{fmt.Sprintf("%d nodes were killed, and %d ended", s.kills, ended)}, nil
	}
	var found []string
	err := await.Until(ctx, settleTime, errUnsettled, func() (bool, error) {
		var err error
		if found, err = s.look(ctx); err != nil {
			found = []string{fmt.Sprintf("%v: %v", errUnsettled, err)}
		}
		return len(found) == 0, nil
	})
	if errors.Is(err, errUnsettled) {
		return found, nil
	}
	return nil, err
}

// look compares the chain with every node, and the nodes with each other.
func (s *stage) look(ctx context.Context) ([]string, error) {
	var found []string
	var first answers.Testimony
	for i, api := range s.nodes.APIs() {
		said, err := s.asker.Hear(ctx, api)
		if err != nil {
			return nil, err
		}
		switch {
		case i == 0:
			first = said
		case !reflect.DeepEqual(said, first):
			found = append(found, fmt.Sprintf("nodes 1 and %d do not know the same", i+1))
		}
	}
	ledger, err := s.books.Read(ctx)
	if err != nil {
		return nil, err
	}
	found = append(found, holdings(first, s.pods)...)
	return append(found, books.Violations(ledger, first.Deposits, first.Accounts)...), nil
}

// verify asks the product itself: keysteward deposits verify.
func (s *stage) verify(ctx context.Context) []string {
	chain := books.ChainOf(s.nodes)
	out, err := s.nodes.Keysteward(ctx, "deposits", "verify", "--execution-rpc", chain.RPC,
		"--deposit-contract", chain.DepositContract, "--fork-version", chain.ForkVersion, "--settle", "0s")
	if err != nil {
		return []string{fmt.Sprintf("%v: %s", err, out)}
	}
	return nil
}

// summarize is a list of violations for people, not endless.
func summarize(found []string) string {
	const most = 12
	if len(found) > most {
		found = append(found[:most:most], fmt.Sprintf("and %d more", len(found)-most))
	}
	return "    " + strings.Join(found, "\n    ")
}
