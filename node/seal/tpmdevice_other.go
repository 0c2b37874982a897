//go:build !linux

package seal

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2/transport"
)

// openDevice says that TPM devices are known on Linux only.
func openDevice(_ context.Context, path string) (transport.TPMCloser, error) {
	return nil, fmt.Errorf("%s: TPM devices are known on Linux: %w", path, errors.ErrUnsupported)
}
