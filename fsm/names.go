package fsm

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// podName names a pod without its UID the way people write it.
func podName(p *fsmpb.Pod) string { return p.GetNamespace() + "/" + p.GetName() }

// reserverOf returns the pod, without its UID, whose request reserves the key,
// nil if none does.
func reserverOf(k *fsmpb.Key) *fsmpb.Pod {
	namespace, name, ok := strings.Cut(k.GetReservedBy(), "/")
	if !ok {
		return nil
	}
	return &fsmpb.Pod{Namespace: namespace, Name: name}
}

// requestOf returns the request that reserves the key, nil if none does.
func (w *write) requestOf(k *fsmpb.Key) *fsmpb.Request {
	p := reserverOf(k)
	if p == nil {
		return nil
	}
	return w.request(p)
}

// maxName bounds a namespace, a pod's name and a UID, in bytes (Kubernetes: 63, 253, 36).
const maxName = 253

// checkPod refuses a pod whose parts are empty, or could not be told apart in
// "namespace/name" and in an index key.
func checkPod(p *fsmpb.Pod) *Refusal {
	for _, s := range []string{p.GetNamespace(), p.GetName(), p.GetUid()} {
		if s == "" || len(s) > maxName || strings.ContainsAny(s, "/\x00") {
			return refuse(Invalid, "a pod needs a namespace, a name and a UID of 1 to %d bytes without slashes", maxName)
		}
	}
	return nil
}

// brief cuts a text that came from outside to what is worth keeping forever.
func brief(s string) string { return strings.ToValidUTF8(s[:min(len(s), 1024)], "") }

func hexName(b []byte) string { return "0x" + hex.EncodeToString(b) }

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}

// size is a length that the state machine's bounds keep within 32 bits.
func size[T any](s []T) uint32 { return uint32(len(s)) } //nolint:gosec // bounded by MaxKeysPerPod
