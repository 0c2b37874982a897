//go:build !linux

package faults

import (
	"context"
	"errors"
)

// MountDisk needs Linux.
func (s Stage) MountDisk(int, int64) (unmount func() error, err error) {
	return nil, errors.ErrUnsupported
}

// DiskFull needs Linux.
func (s Stage) DiskFull(i int, _ uint64) Fault {
	return New("disk of "+NodeName(i)+" full", func(context.Context) (func(context.Context) error, error) {
		return nil, errors.ErrUnsupported
	})
}
