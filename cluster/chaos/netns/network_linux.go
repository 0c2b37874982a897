package netns

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os/exec"
	"sync"
	"time"
)

const (
	first   = 2    // the last byte of the first node's address; one is ours
	most    = 100  // nodes
	packet  = 2048 // bytes of a packet, at most; interfaces have 1500
	waiting = 4096 // packets that may be on their way from one place to another
)

// errOutside says that this process is in the machine's own network.
var errOutside = errors.New("this process is not in a network namespace of its own")

// Network is some places and what goes between them. Close it. It is safe for concurrent
// use.
type Network struct {
	places  []*place // ours, then those of the nodes
	running sync.WaitGroup
	closing chan struct{}

	mu      sync.Mutex
	blocks  map[way]int // how many want it blocked
	late    map[way]time.Duration
	scatter map[way]time.Duration
	queues  map[lane]chan parcel
}

// way is a direction between two places: 0 is ours, 1 the first node's.
type way struct{ from, to int }

// lane is one of the roads of a way; each connection takes always the same.
type lane struct {
	way

	road int
}

// roads of a way; the last is the most crowded one.
const roads = 4

type parcel struct {
	packet []byte
	due    time.Time
}

// New makes a place for each of so many nodes, of which each reaches each other and this
// process.
func New(nodes int) (*Network, error) {
	if !Inside() {
		return nil, errOutside
	}
	if nodes < 1 || nodes > most {
		return nil, fmt.Errorf("%d nodes: want 1 to %d", nodes, most)
	}
	n := &Network{closing: make(chan struct{}), blocks: map[way]int{}, late: map[way]time.Duration{}, scatter: map[way]time.Duration{}, queues: map[lane]chan parcel{}}
	for i := range nodes + 1 {
		p, err := newPlace(hostOf(i), i == 0)
		if err != nil {
			n.Close()
			return nil, err
		}
		n.places = append(n.places, p)
	}
	for from := range n.places {
		for to := range n.places {
			for road := range roads {
				q := make(chan parcel, waiting)
				n.queues[lane{way{from, to}, road}] = q
				n.running.Go(func() { n.deliver(q, to) })
			}
		}
	}
	for from, p := range n.places {
		n.running.Go(func() { n.collect(from, p) })
	}
	return n, nil
}

// hostOf is the address of a place.
func hostOf(place int) net.IP { return net.IPv4(10, 77, 0, byte(place-1+first)) } //nolint:gosec // at most 101

// Host is the address of a node, from 0.
func (n *Network) Host(i int) string { return hostOf(i + 1).String() }

// ChainHost is our own address, which all nodes reach.
func (n *Network) ChainHost() string { return hostOf(0).String() }

// Start starts a process in the place of a node, from 0.
func (n *Network) Start(i int, cmd *exec.Cmd) error { return n.places[i+1].start(cmd) }

// Close ends all places, and the processes in them.
func (n *Network) Close() {
	close(n.closing)
	for _, p := range n.places {
		p.close()
	}
	n.running.Wait()
}

// Block drops what one node sends to another, from 0, until undo is called.
func (n *Network) Block(from, to int) (undo func()) { return n.block(way{from + 1, to + 1}) }

// Cut separates a node, from 0, from all other nodes, but not from this process, until
// undo is called.
func (n *Network) Cut(i int) (undo func()) {
	var ways []way
	for other := 1; other < len(n.places); other++ {
		if other != i+1 {
			ways = append(ways, way{i + 1, other}, way{other, i + 1})
		}
	}
	return n.block(ways...)
}

// CutOff separates a node, from 0, from this process: from clients and from a chain.
func (n *Network) CutOff(i int) (undo func()) { return n.block(way{0, i + 1}, way{i + 1, 0}) }

func (n *Network) block(ways ...way) (undo func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range ways {
		n.blocks[w]++
	}
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, w := range ways {
			n.blocks[w]--
		}
	})
}

// Delay has what one node sends to another, from 0, arrive so much later, until undo is
// called.
func (n *Network) Delay(from, to int, by time.Duration) (undo func()) {
	return n.slow(n.late, way{from + 1, to + 1}, by)
}

// Scatter has what each connection carries from one node to another, from 0, arrive later
// by a time of its own, of most at most, until undo is called.
func (n *Network) Scatter(from, to int, most time.Duration) (undo func()) {
	return n.slow(n.scatter, way{from + 1, to + 1}, most)
}

func (n *Network) slow(how map[way]time.Duration, w way, by time.Duration) (undo func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	how[w] += by
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		how[w] -= by
	})
}

// collect takes what a place sends and puts it on its way.
func (n *Network) collect(from int, p *place) {
	for {
		b := make([]byte, packet)
		size, err := p.device.Read(b)
		if err != nil {
			return // closed
		}
		to, ok := n.target(b[:size])
		if !ok {
			continue
		}
		w, road := way{from, to}, roadOf(b[:size])
		n.mu.Lock()
		blocked, late := n.blocks[w] > 0, n.late[w]+n.scatter[w]*time.Duration(road)/(roads-1)
		n.mu.Unlock()
		if blocked {
			continue
		}
		select {
		case n.queues[lane{w, road}] <- parcel{packet: b[:size], due: time.Now().Add(late)}:
		default: // more than fits is lost, as everywhere
		}
	}
}

// target is the place that an IPv4 packet is for.
func (n *Network) target(b []byte) (place int, ok bool) {
	const destination = 16
	if len(b) < destination+net.IPv4len || b[0]>>4 != 4 || b[destination] != 10 || b[destination+1] != 77 || b[destination+2] != 0 {
		return 0, false
	}
	place = int(b[destination+3]) - first + 1
	return place, place >= 0 && place < len(n.places)
}

// roadOf is the road of a packet, by the ports of its connection.
func roadOf(b []byte) int {
	const header, words, tcp = 0x0f, 4, 6
	ports := int(b[0]&header) * words
	if b[9] != tcp || len(b) < ports+words {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write(b[ports : ports+words])
	return int(h.Sum32()>>16) % roads
}

// deliver hands over what is on one road, in order.
func (n *Network) deliver(q chan parcel, to int) {
	for {
		select {
		case <-n.closing:
			return
		case p := <-q:
			if left := time.Until(p.due); left > 0 {
				select {
				case <-n.closing:
					return
				case <-time.After(left):
				}
			}
			_, _ = n.places[to].device.Write(p.packet)
		}
	}
}
