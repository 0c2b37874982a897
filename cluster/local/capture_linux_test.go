package local

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// maxCapture bounds the file of a capture; a run that has more to say fails.
const maxCapture = 2 << 30

// maxGaps bounds the packets that never arrived at anybody, because a busy kernel
// dropped them and the connection ended before they were sent again.
const maxGaps = 5

// capture records all TCP packets of some ports on loopback, into a file, so that
// secrets can be searched for that are known at the end only.
type capture struct {
	fd     int // of the socket
	socket *os.File
	spool  *os.File
	done   chan error
}

// startCapture listens until stop. It needs root (CAP_NET_RAW), and fails without:
// a test that looks at no traffic has shown nothing.
func startCapture(t *testing.T, ports []int) *capture {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err, "all traffic is captured and searched, which needs CAP_NET_RAW: run the test as root")
	c := &capture{fd: fd, socket: os.NewFile(uintptr(fd), "capture"), done: make(chan error, 1)}
	t.Cleanup(func() { _ = c.socket.Close() })
	filter := portFilter(ports)
	require.NoError(t, unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}))
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1), "else each packet would be seen twice")
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network, Ifindex: lo.Index}))
	c.spool, err = os.Create(filepath.Join(t.TempDir(), "capture"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.spool.Close() })
	go func() { c.done <- c.record() }()
	return c
}

// portFilter is a program (classic BPF) that takes the TCP packets from and to ports.
func portFilter(ports []int) []unix.SockFilter {
	const fragment, protocol = 6, 9 // offsets in the IPv4 header
	load := func(size uint16, mode uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | mode, K: at}
	}
	rest := uint8(2 * (len(ports) + 1))
	program := []unix.SockFilter{
		load(unix.BPF_B, unix.BPF_ABS, protocol),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jf: rest + 1},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // the header's length
	}
	for _, end := range []uint32{0, 2} { // source and destination
		program = append(program, load(unix.BPF_H, unix.BPF_IND, end))
		rest--
		for _, port := range ports {
			program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(port), Jt: rest})
			rest--
		}
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET}, unix.SockFilter{Code: unix.BPF_RET, K: 1 << 18})
}

// record writes every packet, after its length, until the deadline of the socket, and
// then what has come until now.
func (c *capture) record() error {
	out := bufio.NewWriterSize(c.spool, 1<<20)
	packet, size := make([]byte, 1<<18), 0
	keep := func(n int) error {
		if size += n; size > maxCapture {
			return fmt.Errorf("more than %d bytes were captured", maxCapture)
		}
		_ = binary.Write(out, binary.BigEndian, uint32(n))
		_, err := out.Write(packet[:n])
		return err
	}
	for {
		n, err := c.socket.Read(packet)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err = errors.Join(err, keep(n)); err != nil {
			return fmt.Errorf("capture: %w", err)
		}
	}
	for {
		n, err := unix.Read(c.fd, packet)
		if errors.Is(err, unix.EAGAIN) {
			return out.Flush()
		}
		if err = errors.Join(err, keep(n)); err != nil {
			return fmt.Errorf("capture: %w", err)
		}
	}
}

// stop ends the capture; nothing may have been missed.
func (c *capture) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, c.socket.SetReadDeadline(time.Now()))
	require.NoError(t, <-c.done)
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	require.NoError(t, err)
	require.Zero(t, stats.Drops, "packets were missed, of %d", stats.Packets)
	t.Logf("%d packets were captured", stats.Packets)
}

// search puts what was said on every connection together, each direction by itself,
// and searches it. A place is a direction from or to one of the ports: "to 20001".
func (c *capture) search(t *testing.T, s *searcher, p places, ports []int) (streams []*flow) {
	t.Helper()
	_, err := c.spool.Seek(0, io.SeekStart)
	require.NoError(t, err)
	in, open := bufio.NewReaderSize(c.spool, 1<<20), map[[12]byte]*flow{}
	for {
		var size uint32
		if err := binary.Read(in, binary.BigEndian, &size); errors.Is(err, io.EOF) {
			break
		}
		packet := make([]byte, size)
		_, err := io.ReadFull(in, packet)
		require.NoError(t, err)
		segment := parseSegment(packet)
		if f := open[segment.ends]; f == nil || segment.begins {
			open[segment.ends] = &flow{place: segment.place(ports), next: segment.sequence, stream: s.stream()}
			streams = append(streams, open[segment.ends])
		}
		open[segment.ends].add(segment)
	}
	gaps := 0
	for i, f := range streams {
		gaps += f.finish()
		p[fmt.Sprintf("traffic %s, connection %d", f.place, i)] = f.stream
	}
	require.LessOrEqual(t, gaps, maxGaps, "packets never arrived")
	return streams
}
