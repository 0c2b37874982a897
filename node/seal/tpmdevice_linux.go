package seal

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/sys/unix"
)

// tpmPoll is how often, in milliseconds, a wait for the TPM looks whether it is still wanted.
const tpmPoll = 50

// openDevice opens a device of the kernel's TPM driver. It does not block: the kernel
// works on a command meanwhile, and says by poll(2) that the answer is there.
func openDevice(ctx context.Context, path string) (transport.TPMCloser, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the path
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return nil, fmt.Errorf("%s is no device", path)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &tpmDevice{ctx: ctx, fd: fd}, nil
}

type tpmDevice struct {
	ctx context.Context //nolint:containedctx // a TPM's transport has no parameter for it
	fd  int
}

// Close implements io.Closer. The kernel's resource manager takes out what is still loaded.
func (d *tpmDevice) Close() error {
	return unix.Close(d.fd) //nolint:wrapcheck // nobody reads it
}

// Send implements transport.TPM.
func (d *tpmDevice) Send(command []byte) ([]byte, error) {
	return retryTPM(d.ctx, func() ([]byte, error) {
		if n, err := unix.Write(d.fd, command); err != nil || n != len(command) {
			return nil, fmt.Errorf("send %d of %d bytes: %w", n, len(command), err)
		}
		if err := d.wait(); err != nil {
			return nil, err
		}
		answer := make([]byte, tpmAnswer) // the driver gives the whole answer at once
		n, err := unix.Read(d.fd, answer)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		return answer[:n], nil
	})
}

func (d *tpmDevice) wait() error {
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}} //nolint:gosec // file descriptors are small
	for {
		if err := d.ctx.Err(); err != nil {
			return fmt.Errorf("wait for the answer: %w", err)
		}
		n, err := unix.Poll(fds, tpmPoll)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the answer: %w", err)
		}
	}
}
