// Package harden keeps what a process has in memory away from core dumps and from
// other processes of the same user.
package harden
