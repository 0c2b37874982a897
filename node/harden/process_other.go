//go:build !unix

package harden

import "errors"

// Process says that this system lets nothing of it be done.
func Process() error {
	return errors.New("core dumps and other processes of this user are not kept away on this system")
}
