package wires

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 10 * time.Second

// newWiredMembers are wires to members that say what they hear, each after its index.
func newWiredMembers(t *testing.T, count int) *Wires {
	t.Helper()
	addresses := make([]string, count)
	for i := range addresses {
		addresses[i] = "127.0.0.1:0"
	}
	w, err := New(t.Context(), addresses)
	require.NoError(t, err)
	t.Cleanup(w.Close)
	for i := range count {
		_, port, err := net.SplitHostPort(w.addresses[i])
		require.NoError(t, err)
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(MemberHost(i), port))
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = c.Write([]byte{byte('0' + i)})
					_, _ = io.Copy(c, c)
				}()
			}
		}()
	}
	return w
}

// call connects one member with another.
func (w *Wires) call(t *testing.T, from string, to int) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", w.addresses[to])
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// hears reads so many bytes as the text has.
func hears(t *testing.T, c net.Conn, text string) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	got := make([]byte, len(text))
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// hearsNothing waits for a while.
func hearsNothing(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func says(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := c.Write([]byte(text))
	require.NoError(t, err)
}

func TestWiresCarry(t *testing.T) {
	t.Parallel()
	w := newWiredMembers(t, 2)
	c := w.call(t, MemberHost(0), 1)
	hears(t, c, "1")
	says(t, c, "hello")
	hears(t, c, "hello")
	self := w.call(t, MemberHost(0), 0)
	hears(t, self, "0")
	require.NoError(t, c.Close())
}

func TestWiresRefuseStrangers(t *testing.T) {
	t.Parallel()
	w := newWiredMembers(t, 1)
	c := w.call(t, "127.0.0.1", 0)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// What is cut off hears nothing and is not heard, in old connections and new ones,
// whoever called; the others do not notice. Later everything arrives.
func TestWiresCut(t *testing.T) {
	t.Parallel()
	const leader, other, third = 0, 1, 2
	w := newWiredMembers(t, 3)
	out, in, aside := w.call(t, MemberHost(leader), other), w.call(t, MemberHost(other), leader), w.call(t, MemberHost(other), third)
	hears(t, out, "1")
	hears(t, in, "0")
	hears(t, aside, "2")

	w.Cut(leader)
	says(t, out, "from the leader")
	says(t, in, "to the leader")
	says(t, aside, "past the leader")
	hears(t, aside, "past the leader")
	hearsNothing(t, out)
	hearsNothing(t, in)
	fresh, back := w.call(t, MemberHost(leader), third), w.call(t, MemberHost(third), leader)
	hearsNothing(t, fresh)
	hearsNothing(t, back)

	w.Connect(leader)
	hears(t, out, "from the leader")
	hears(t, in, "to the leader")
	hears(t, fresh, "2")
	hears(t, back, "0")
}

// One way is blocked: what was said the other way arrives.
func TestWiresBlockOneWay(t *testing.T) {
	t.Parallel()
	w := newWiredMembers(t, 2)
	c := w.call(t, MemberHost(0), 1)
	hears(t, c, "1")
	forth, again := w.Block(0, 1), w.Block(0, 1)
	says(t, c, "there")
	hearsNothing(t, c)
	forth()
	forth() // counts once
	hearsNothing(t, c)
	again()
	hears(t, c, "there")

	back := w.Block(1, 0)
	says(t, c, "answer")
	fresh := w.call(t, MemberHost(0), 1)
	hearsNothing(t, c)
	hearsNothing(t, fresh)
	back()
	hears(t, c, "answer")
	hears(t, fresh, "1")
}

func TestWiresDelay(t *testing.T) {
	t.Parallel()
	const late = 300 * time.Millisecond
	w := newWiredMembers(t, 2)
	c := w.call(t, MemberHost(0), 1)
	hears(t, c, "1")
	undo := w.Delay(1, 0, late)
	began := time.Now()
	says(t, c, "one")
	says(t, c, " two")
	hears(t, c, "one two")
	require.GreaterOrEqual(t, time.Since(began), late)
	require.Less(t, time.Since(began), patience/2, "they are late together, not one after the other")
	undo()
	says(t, c, "soon")
	hears(t, c, "soon")
}

// Closing the wires does not wait for anybody.
func TestWiresCloseWhileCut(t *testing.T) {
	t.Parallel()
	w := newWiredMembers(t, 2)
	c := w.call(t, MemberHost(0), 1)
	hears(t, c, "1")
	w.Cut(1)
	says(t, c, "never arrives")
	w.call(t, MemberHost(0), 1)
	w.Close()
	_, err := New(t.Context(), []string{"127.0.0.1:0", "nonsense"})
	require.Error(t, err)
}

// Each connection has a time of its own, so what is said first may be heard last; within
// one everything keeps its order.
func TestWiresScatter(t *testing.T) {
	t.Parallel()
	w := newWiredMembers(t, 2)
	undo := w.Scatter(0, 1, time.Hour)
	const roads = 8
	var earliest, latest time.Duration = time.Hour, 0
	for range roads {
		road := w.road()
		require.GreaterOrEqual(t, road, 0.0)
		require.LessOrEqual(t, road, 1.0)
		late := w.lateness(way{0, 1}, road)
		earliest, latest = min(earliest, late), max(latest, late)
		require.Zero(t, w.lateness(way{1, 0}, road), "the other way is free")
	}
	require.Greater(t, latest-earliest, time.Minute, "they differ")
	more := w.Delay(0, 1, time.Minute)
	require.Equal(t, 31*time.Minute, w.lateness(way{0, 1}, 0.5))
	undo()
	undo()
	more()
	require.Zero(t, w.lateness(way{0, 1}, 1))

	undo = w.Scatter(0, 1, 50*time.Millisecond)
	defer undo()
	c := w.call(t, MemberHost(0), 1)
	hears(t, c, "1")
	says(t, c, "first")
	says(t, c, "then")
	hears(t, c, "firstthen")
}
