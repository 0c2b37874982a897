//go:build !unix

package main

import "errors"

func harden() error {
	return errors.New("core dumps and other processes of this user are not kept away on this system")
}
