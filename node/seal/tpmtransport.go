package seal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// A TPM's answer: tag, length of the whole, response code, and at most 4 KiB.
const (
	tpmHead   = 10
	tpmAnswer = 4096
)

var errTPMAnswer = errors.New("answer that is none of a TPM")

// openTPM opens a TPM whose every answer comes before the context ends, or not at all.
// It waits for one that somebody else uses.
func openTPM(ctx context.Context, device string) (transport.TPMCloser, error) {
	open := openDevice
	path, socket := strings.CutPrefix(device, "unix:")
	if socket {
		open = openSocket
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		tpm, err := open(ctx, path)
		if !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EAGAIN) {
			return tpm, err
		}
		if pause(ctx, wait) != nil {
			return nil, fmt.Errorf("the TPM is busy: %w", err)
		}
	}
}

// pause waits, or reports why the context ended before.
func pause(ctx context.Context, wait time.Duration) error {
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller says what for
	}
}

func openSocket(ctx context.Context, path string) (transport.TPMCloser, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the path
	}
	s := &tpmSocket{ctx: ctx, conn: conn}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return s, nil
}

// tpmSocket speaks raw commands over a stream, as swtpm does.
type tpmSocket struct {
	ctx  context.Context //nolint:containedctx // a TPM's transport has no parameter for it
	conn net.Conn
	stop func() bool
}

// Close implements io.Closer.
func (s *tpmSocket) Close() error {
	s.stop()
	return s.conn.Close() //nolint:wrapcheck // nobody reads it
}

// Send implements transport.TPM.
func (s *tpmSocket) Send(command []byte) ([]byte, error) {
	return retryTPM(s.ctx, func() ([]byte, error) {
		if _, err := s.conn.Write(command); err != nil {
			return nil, err //nolint:wrapcheck // names the socket
		}
		answer := make([]byte, tpmHead, tpmAnswer)
		if _, err := io.ReadFull(s.conn, answer); err != nil {
			return nil, err //nolint:wrapcheck // names the socket
		}
		n := binary.BigEndian.Uint32(answer[2:])
		if n < tpmHead || n > tpmAnswer {
			return nil, errTPMAnswer
		}
		answer = answer[:n]
		_, err := io.ReadFull(s.conn, answer[tpmHead:])
		return answer, err //nolint:wrapcheck // names the socket
	})
}

// retryTPM sends again while the TPM says that it is busy.
func retryTPM(ctx context.Context, send func() ([]byte, error)) ([]byte, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		answer, err := send()
		if err != nil {
			return nil, err
		}
		if len(answer) < tpmHead || binary.BigEndian.Uint32(answer[2:]) != uint32(len(answer)) { //nolint:gosec // at most 4 KiB
			return nil, errTPMAnswer
		}
		if binary.BigEndian.Uint32(answer[6:]) != uint32(tpm2.TPMRCRetry) {
			return answer, nil
		}
		if err := pause(ctx, wait); err != nil {
			return nil, fmt.Errorf("the TPM is busy: %w", err)
		}
	}
}
