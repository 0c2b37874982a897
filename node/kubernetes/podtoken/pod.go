package podtoken

import (
	"context"
	"errors"
)

// Pod is who a token was made for, as Kubernetes says and not as the token does.
type Pod struct {
	Namespace, Name, UID string
	// ServiceAccount of the pod, by its name.
	ServiceAccount string
}

var (
	// ErrRefused is wrapped when the token lets nobody in. Its text may be told to
	// whoever sent it, and holds no part of the token.
	ErrRefused = errors.New("the pod's token is not accepted")
	// ErrUnavailable is wrapped when nobody could tell whether a token is good.
	ErrUnavailable = errors.New("pods' tokens can not be checked at the moment")
)

// Reviewer checks tokens of pods. Errors wrap [ErrRefused] or [ErrUnavailable].
type Reviewer interface {
	// Review returns the pod that the token was made for.
	Review(ctx context.Context, token string) (Pod, error)
}
