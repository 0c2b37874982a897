package ethereum

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

const (
	// mostLag is how many blocks a client may be behind the best before it is
	// passed over; new blocks do not reach all of them at the same moment.
	mostLag = 3
	// probeTimeout bounds the questions that every client is asked in each pass.
	// One that is slower is of no use.
	probeTimeout = 3 * time.Second
	// A client that failed is left alone for a while, longer each time: asking one
	// that hangs holds up the pass.
	firstPause, longestPause = 5 * time.Second, time.Minute
)

// endpoints are the execution clients of the configuration. One of them is used
// for all that a pass believes, as long as it is well.
type endpoints struct {
	list    []*endpoint
	current *endpoint // nil until one was chosen
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
}

// endpoint is one execution client and what is known of it.
type endpoint struct {
	client  *client
	facts   *facts // what it said of its chain last, nil if it never did
	head    uint64
	answers bool          // in this pass
	trouble string        // why it is passed over, empty while it is well
	again   time.Time     // when it is asked again after a failure
	pause   time.Duration // after the last failure
	told    bool          // whether trouble is in the log
}

// dialAll prepares all clients; none is connected to yet. Clients behind one host
// are told apart by a number, because nothing else of the URL may be shown.
func dialAll(ctx context.Context, cfg Config, m *metrics) (*endpoints, error) {
	s := &endpoints{log: cfg.Logger, metrics: m, now: cfg.Now}
	hosts := make(map[string]int)
	for _, address := range cfg.RPC {
		c, err := dial(ctx, address)
		if err != nil {
			s.close()
			return nil, err
		}
		if hosts[c.host]++; hosts[c.host] > 1 {
			c.host = fmt.Sprintf("%s (%d)", c.host, hosts[c.host])
		}
		s.list = append(s.list, &endpoint{client: c})
	}
	return s, nil
}

func (s *endpoints) close() {
	for _, e := range s.list {
		e.client.rpc.Close()
	}
}

// pick returns the client for a pass: the one of before while it is well, else
// the first that is. A sole client is not asked anything here. All that ever
// answered must be on one chain.
func (s *endpoints) pick(ctx context.Context, contract [20]byte) (*client, error) {
	if len(s.list) == 1 {
		s.use(s.list[0])
		return s.current.client, nil
	}
	s.probe(ctx, contract)
	s.compareHeads()
	s.tell()
	if w := s.disagreement(); w != nil {
		return nil, w
	}
	if s.current != nil && s.current.well() {
		return s.current.client, nil
	}
	for _, e := range s.list {
		if e.well() {
			s.use(e)
			return e.client, nil
		}
	}
	return nil, s.noneIsWell()
}

// well reports whether the client may be used.
func (e *endpoint) well() bool { return e.answers && e.trouble == "" }

func (s *endpoints) use(e *endpoint) {
	if s.current == e {
		return
	}
	if s.current = e; len(s.list) > 1 {
		s.log.Info("execution client chosen", "client", e.client.host)
	}
	s.metrics.uses(s.list, e)
}

// probe asks all clients that are due, and if none of them is well the rest too.
func (s *endpoints) probe(ctx context.Context, contract [20]byte) {
	now := s.now()
	var due, paused []*endpoint
	for _, e := range s.list {
		if e.answers = false; now.Before(e.again) {
			paused = append(paused, e)
		} else {
			due = append(due, e)
		}
	}
	s.askAll(ctx, due, contract)
	for _, e := range due {
		if e.well() {
			return
		}
	}
	s.askAll(ctx, paused, contract)
}

func (s *endpoints) askAll(ctx context.Context, list []*endpoint, contract [20]byte) {
	now := s.now()
	var group sync.WaitGroup
	for _, e := range list {
		group.Go(func() {
			if trouble := e.ask(ctx, contract, now); trouble != "" {
				e.fail(trouble, now)
			}
		})
	}
	group.Wait()
}

// fail notes why a client is passed over, and when it is asked again.
func (e *endpoint) fail(trouble string, now time.Time) {
	e.answers, e.trouble = false, trouble
	e.pause = min(max(2*e.pause, firstPause), longestPause)
	e.again = now.Add(e.pause)
}

// compareHeads passes over the clients that lag behind the best.
func (s *endpoints) compareHeads() {
	best := uint64(0)
	for _, e := range s.list {
		if e.well() {
			best = max(best, e.head)
		}
	}
	for _, e := range s.list {
		if e.well() && best-e.head > mostLag {
			e.trouble = fmt.Sprintf("it is %d blocks behind, at block %d", best-e.head, e.head)
			e.facts.code = common.Hash{} // the contract may be younger than its head
		}
	}
}

// fault has the client of this pass passed over, because of an answer that it
// gave or did not give. If no other one is well it is used again all the same.
func (s *endpoints) fault(w *waiting) {
	if s.current == nil || len(s.list) == 1 {
		return
	}
	s.current.fail(w.detail, s.now())
	s.tell()
	s.current = nil
}

// blamed reports whether another client may answer what this one did not.
func blamed(w *waiting) bool {
	return w.code == ChainUnreachable || w.code == EventsIncomplete || w.code == ReceiptsMissing
}

// tell logs what has changed, once, and shows it in the metrics.
func (s *endpoints) tell() {
	for _, e := range s.list {
		switch {
		case e.trouble != "" && !e.told:
			s.log.Warn("execution client passed over", "client", e.client.host, "reason", e.trouble)
		case e.well() && e.told:
			s.log.Info("execution client is well again", "client", e.client.host)
		}
		e.told = e.trouble != ""
	}
	s.metrics.sees(s.list)
}

func (s *endpoints) noneIsWell() *waiting {
	reasons := make([]string, len(s.list))
	for i, e := range s.list {
		reasons[i] = e.client.host + ": " + e.trouble
	}
	return waitFor(ChainUnreachable, "none of the %d execution clients is well: %s", len(s.list), strings.Join(reasons, "; "))
}

// others are the clients besides the one in use that answered in this pass, those
// that lag included: what they say may contradict it.
func (s *endpoints) others() []*endpoint {
	var list []*endpoint
	for _, e := range s.list {
		if e != s.current && e.answers {
			list = append(list, e)
		}
	}
	return list
}
