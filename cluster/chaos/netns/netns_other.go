//go:build !linux

package netns

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

// Inside is false: namespaces need Linux.
func Inside() bool { return false }

// Enter needs Linux.
func Enter(context.Context, ...string) error { return errors.ErrUnsupported }

// Network needs Linux.
type Network struct{}

// New needs Linux.
func New(int) (*Network, error) { return nil, errors.ErrUnsupported }

// Host needs Linux.
func (n *Network) Host(int) string { return "" }

// ChainHost needs Linux.
func (n *Network) ChainHost() string { return "" }

// Start needs Linux.
func (n *Network) Start(int, *exec.Cmd) error { return errors.ErrUnsupported }

// Block needs Linux.
func (n *Network) Block(int, int) (undo func()) { return func() {} }

// Delay needs Linux.
func (n *Network) Delay(int, int, time.Duration) (undo func()) { return func() {} }

// Scatter needs Linux.
func (n *Network) Scatter(int, int, time.Duration) (undo func()) { return func() {} }

// Close needs Linux.
func (n *Network) Close() {}
