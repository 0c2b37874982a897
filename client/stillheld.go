package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

var (
	// ErrKeysLost is wrapped when keys that a caller has from before are no longer its
	// pod's: another pod may hold them by now, so nobody may sign with them any more.
	ErrKeysLost = errors.New("keys are no longer the pod's")
	// ErrRefused is wrapped when AllocateKeys ended without having asked for anything:
	// a server refused it, and no earlier try may have been carried out.
	ErrRefused = errors.New("refused")
)

// refused marks an error as one of ErrRefused. Its text stays what it is.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// Is makes errors.Is find ErrRefused.
func (r refused) Is(target error) bool { return target == ErrRefused }

// ifRefused marks an error if it is a definite refusal, unless something was asked
// for before it.
func ifRefused(err error, asked bool) error {
	p, answered := errors.AsType[*Problem](err)
	definite := answered && p.Status >= 400 && p.Status < 500 && p.Status != http.StatusRequestTimeout && !passing(p.Status)
	if !asked && (definite || errors.Is(err, ErrKeysLost) || errors.Is(err, ErrRequest)) {
		return refused{err}
	}
	return err
}

// checkStillHeld refuses keys of a caller that are not among those of its pod. Those
// of an earlier UID will do: they stay with it until it is gone for good, and are
// kept for the next one that asks. Between the two the keys are of a request that
// waits; joining it costs nothing. Retired keys are returned, and are no reason to
// refuse: nobody else gets them.
func (c *Client) checkStillHeld(ctx context.Context, asked wire.AllocationRequest, has []validator.PublicKey, manners call) (Retired, error) {
	var over Retired
	if len(has) == 0 {
		return over, nil
	}
	status, err := c.podStatus(ctx, asked.Namespace, asked.Pod, manners)
	if err != nil && !IsType(err, TypeNotFound) {
		return over, err
	}
	p := status.Pending
	if status.Allocation.PodUID == "" && p.PodUID == asked.PodUID && int64(p.Keys) >= asked.Keys {
		return over, nil
	}
	its := map[string]bool{}
	for _, key := range status.Allocation.Keys {
		its[key] = true
	}
	for _, key := range has {
		if its[key.String()] {
			continue
		}
		retired, err := c.addIfRetired(ctx, &over, key, manners)
		if err != nil {
			return over, err
		}
		if !retired {
			return over, fmt.Errorf("%w: pod %s/%s does not hold %s", ErrKeysLost, asked.Namespace, asked.Pod, key)
		}
	}
	return over, nil
}
