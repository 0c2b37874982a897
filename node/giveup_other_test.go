//go:build !linux

package node

import (
	"net"
	"testing"
	"time"
)

func userTimeout(*testing.T, net.Conn) time.Duration { return lostAfter }
