package local

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// segment is a part of what one end of a TCP connection says.
type segment struct {
	ends     [12]byte // addresses and ports (RFC 9293)
	sequence uint32   // number of its first byte
	begins   bool
	data     []byte
}

// parseSegment reads an IPv4 packet of TCP.
func parseSegment(packet []byte) (s segment) {
	header := int(packet[0]&15) * 4
	// A packet of offloaded segments may be longer than its header can say.
	if length := int(binary.BigEndian.Uint16(packet[2:])); length >= header+20 && length < len(packet) {
		packet = packet[:length]
	}
	tcp := packet[header:]
	copy(s.ends[:], packet[12:20])
	copy(s.ends[8:], tcp[:4])
	s.sequence, s.begins = binary.BigEndian.Uint32(tcp[4:]), tcp[13]&2 != 0
	if s.begins {
		s.sequence++
	}
	s.data = tcp[int(tcp[12]>>4)*4:]
	return s
}

// place names the direction by the port that is one of those that were captured.
func (s segment) place(ports []int) string {
	from, to := int(binary.BigEndian.Uint16(s.ends[8:])), int(binary.BigEndian.Uint16(s.ends[10:]))
	if slices.Contains(ports, to) {
		return fmt.Sprintf("to %d", to)
	}
	return fmt.Sprintf("from %d", from)
}

// flow is what one end of a connection says, in order.
type flow struct {
	place  string
	next   uint32
	begin  []byte // the first bytes
	held   []segment
	stream *stream
}

// add takes a segment, which may be early, or a repetition.
func (f *flow) add(s segment) {
	if len(s.data) == 0 {
		return // an acknowledgement; the end of a connection counts as a byte
	}
	f.held = append(f.held, s)
	f.drain()
}

// drain puts into the stream what now follows on what is there.
func (f *flow) drain() {
	for again := true; again; {
		again = false
		f.held = slices.DeleteFunc(f.held, func(s segment) bool {
			known := int64(int32(f.next - s.sequence))
			if known < 0 {
				return false
			}
			if fresh := s.data[min(known, int64(len(s.data))):]; len(fresh) > 0 {
				f.begin = append(f.begin, fresh[:min(len(fresh), 8-min(8, len(f.begin)))]...)
				_, _ = f.stream.Write(fresh)
				f.next += uint32(len(fresh))
				again = true
			}
			return true
		})
	}
}

// finish adds what was said after a packet that never arrived, and counts the holes.
func (f *flow) finish() (holes int) {
	for ; len(f.held) > 0; holes++ {
		f.next = slices.MinFunc(f.held, func(a, b segment) int { return int(int32(a.sequence - b.sequence)) }).sequence
		f.drain()
	}
	return holes
}

// isTLS tells whether what is said begins with a record of TLS (RFC 8446, section
// 5.1): a handshake's, or an alert.
func (f *flow) isTLS() bool {
	return f.stream.size == 0 || len(f.begin) > 2 && (f.begin[0] == 22 || f.begin[0] == 21) && f.begin[1] == 3
}

// say opens a connection to a port and says something in two pieces, cut in the middle.
func say(t *testing.T, port int, text string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address(port))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	for _, piece := range []string{text[:len(text)/2], text[len(text)/2:]} {
		_, err = conn.Write([]byte(piece)) // Go sets TCP_NODELAY: a segment each
		require.NoError(t, err)
	}
}

// The capture has what was said on its ports, in both directions, and nothing else.
func TestCapture(t *testing.T) {
	t.Parallel()
	var listening []net.Listener
	var ports []int
	for range 2 {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", loopback+":0")
		require.NoError(t, err)
		defer l.Close()
		listening, ports = append(listening, l), append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	c := startCapture(t, ports[:1])
	question, answer := "what nobody should say in the clear", strings.Repeat("nor answer ", 20_000)+"the end of it"
	for i, l := range listening {
		say(t, ports[i], question)
		conn, err := l.Accept()
		require.NoError(t, err)
		heard := make([]byte, len(question))
		_, err = conn.Read(heard)
		require.NoError(t, err)
		_, _ = conn.Write([]byte(answer)) // whoever asked may be gone
		require.NoError(t, conn.Close())
	}
	c.stop(t)
	p := places{}
	s := newSearcher([]secret{{"control: question", [][]byte{[]byte(question)}}, {"control: answer", [][]byte{[]byte("the end of it")}}})
	flows := c.search(t, s, p, ports)
	require.Len(t, flows, 2, "one connection, both directions")
	p.requireFound(t, "control: question", fmt.Sprintf("traffic to %d, connection 0", ports[0]))
	require.Equal(t, "what nob", string(flows[0].begin))
	require.False(t, flows[0].isTLS())
}

// Segments come twice, too early, and overlap.
func TestFlowIsPutInOrder(t *testing.T) {
	t.Parallel()
	value := exampleSecret()
	s := newSearcher([]secret{secretBytes("example", value)})
	f := &flow{next: 0xffffffff - 9, stream: s.stream()} // the numbers wrap around within
	for _, part := range [][2]int{{30, 48}, {0, 10}, {0, 10}, {5, 20}, {40, 48}, {20, 30}} {
		f.add(segment{sequence: f.first(part[0]), data: value[part[0]:part[1]]})
	}
	require.Empty(t, f.held)
	require.Equal(t, int64(len(value)), f.stream.size)
	require.True(t, f.stream.found["example"])
	f.add(segment{sequence: f.next + 1, data: []byte("a gap before")})
	require.Len(t, f.held, 1)
	f.add(segment{sequence: f.next + 40, data: []byte("and a second")})
	f.add(segment{sequence: f.next + 52, data: value})
	require.Equal(t, 2, f.finish())
	require.Equal(t, int64(2*len(value)+24), f.stream.size, "what came after the gaps is searched")
}

// first is the number of a byte of the flow above.
func (*flow) first(i int) uint32 { return 0xffffffff - 9 + uint32(i) }
