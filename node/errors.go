package node

import "errors"

// Outcomes of proposing and reading that callers must tell apart. Everything
// else that Propose returns is a refusal of the state machine (*fsm.Refusal).
var (
	// ErrNotLeader says that this node has no leadership session; nothing was changed.
	ErrNotLeader = errors.New("not the leader")
	// ErrUnknownOutcome says that the command may or may not have been applied,
	// now or later. Every command can be repeated safely.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrTooLarge says that a command exceeds MaxCommandBytes; nothing was changed.
	ErrTooLarge = errors.New("command too large")
	// ErrSealed says that this node can not open secrets: it has no usable
	// key-encryption key.
	ErrSealed = errors.New("sealed")
)
