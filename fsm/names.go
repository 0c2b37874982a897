package fsm

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// podName names a pod without its UID the way people write it.
func podName(p *fsmpb.Pod) string { return p.GetNamespace() + "/" + p.GetName() }

// requestOf returns the request that reserves the key, nil if none does.
func (w *write) requestOf(k *fsmpb.Key) *fsmpb.Request {
	namespace, name, ok := strings.Cut(k.GetReservedBy(), "/")
	if !ok {
		return nil
	}
	return w.request(&fsmpb.Pod{Namespace: namespace, Name: name})
}

func hexName(b []byte) string { return "0x" + hex.EncodeToString(b) }

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}

// size is a length that the state machine's bounds keep within 32 bits.
func size[T any](s []T) uint32 { return uint32(len(s)) } //nolint:gosec // bounded by MaxKeysPerPod
