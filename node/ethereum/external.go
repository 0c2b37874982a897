package ethereum

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/accounts/external"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Errors of ExternalFunding. Both end by themselves: the duty asks again.
var (
	// ErrSignerUnavailable is wrapped when no answer came from the external signer.
	ErrSignerUnavailable = errors.New("the external signer does not answer")
	// ErrSignerRefused is wrapped when the external signer answered, with no signature.
	ErrSignerRefused = errors.New("the external signer refuses to sign")
)

const (
	// signerTimeout bounds one signature, in which a person may have to agree.
	// Over HTTP clef itself gives a request up after 30 seconds.
	signerTimeout = 25 * time.Second
	// refusalPause is how long a refusal stands before the signer is asked again,
	// so that a person who said no is not asked at every pass.
	refusalPause = 30 * time.Second
	// codeTimedOut is what go-ethereum's servers answer when time ran out.
	codeTimedOut = -32002
)

// ExternalFunding is a Signer whose key is held by another program that speaks
// clef's JSON-RPC. It is asked for one signature at a time: where a person
// decides, questions do not pile up. It prints as "[redacted]".
type ExternalFunding struct {
	validator.Redacted
	endpoint string // may hold a password: never told
	name     string // what may be told of the endpoint
	address  common.Address
	timeout  time.Duration
	pause    time.Duration

	turn   chan struct{}            // full while a question is open
	signer *external.ExternalSigner // belongs to the open question; nil until it answered once

	mu      sync.Mutex
	late    *question // nobody waits for its answer any more
	refusal error
	until   time.Time // for which the refusal stands
}

// question is a transaction that the signer was asked to sign.
type question struct {
	done   chan struct{} // closed when it is answered
	signed *types.Transaction
	err    error
}

// FundingFromExternal returns a Signer for the account at address. The endpoint
// is an http or https URL, which may hold a user and a password, or the absolute
// path of an IPC socket. The signer is not contacted before the first signature,
// so it may be away. Errors wrap ErrConfig and do not name the endpoint.
func FundingFromExternal(endpoint string, address [20]byte) (*ExternalFunding, error) {
	name := endpoint
	if !filepath.IsAbs(endpoint) {
		u, err := url.Parse(endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, fmt.Errorf("%w: an external signer's address must be an http or https URL with a host, or the absolute path of a socket", ErrConfig)
		}
		name = u.Host
	}
	if address == ([20]byte{}) {
		return nil, fmt.Errorf("%w: an external signer needs the address of the account that pays", ErrConfig)
	}
	return &ExternalFunding{
		endpoint: endpoint, name: name, address: address,
		timeout: signerTimeout, pause: refusalPause, turn: make(chan struct{}, 1),
	}, nil
}

// Address implements Signer.
func (f *ExternalFunding) Address() common.Address { return f.address }

// SignTx implements Signer. Errors wrap ErrSignerUnavailable or ErrSignerRefused,
// or ctx's error where that ended. It returns within half a minute.
func (f *ExternalFunding) SignTx(ctx context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error) {
	within, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	q, err := f.ask(within, tx, chainID)
	if err != nil {
		return nil, f.failure(ctx, err)
	}
	select {
	case <-q.done:
	case <-within.Done():
		f.mu.Lock()
		f.late = q
		f.mu.Unlock()
		return nil, f.failure(ctx, within.Err())
	}
	if q.err == nil {
		return q.signed, nil
	}
	err = f.failure(ctx, q.err)
	if errors.Is(err, ErrSignerRefused) {
		f.mu.Lock()
		f.refusal, f.until = err, time.Now().Add(f.pause)
		f.mu.Unlock()
	}
	return nil, err
}

var (
	errStillOpen     = errors.New("an earlier request is still open")
	errNoTransaction = errors.New("it answered without a transaction")
)

// ask puts a question once the one before is answered.
//
// The library's calls take no context. So each runs in a goroutine, never more
// than one, that lives on when nobody waits any more, until the signer answers
// or the connection breaks. An answer that comes late is dropped, which is safe:
// only signatures that were logged are ever sent.
func (f *ExternalFunding) ask(ctx context.Context, tx *types.Transaction, chainID *big.Int) (*question, error) {
	if err := f.standing(); err != nil {
		return nil, err
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err() //nolint:wrapcheck // the caller wraps it
	}
	q := &question{done: make(chan struct{})}
	go func() {
		defer func() { <-f.turn }()
		defer close(q.done)
		q.signed, q.err = f.sign(tx, chainID)
	}()
	return q, nil
}

// standing returns why the signer is not asked at all.
func (f *ExternalFunding) standing() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.late != nil {
		select {
		case <-f.late.done:
			f.late = nil
		default:
			return errStillOpen
		}
	}
	if f.refusal != nil && time.Now().Before(f.until) {
		return f.refusal
	}
	f.refusal = nil
	return nil
}

// sign waits for the signer's answer for as long as that takes.
func (f *ExternalFunding) sign(tx *types.Transaction, chainID *big.Int) (*types.Transaction, error) {
	if f.signer == nil {
		signer, err := external.NewExternalSigner(f.endpoint) // asks for its version
		if err != nil {
			return nil, err //nolint:wrapcheck // the caller wraps it, without the URL
		}
		f.signer = signer
	}
	signed, err := f.signer.SignTx(accounts.Account{Address: f.address}, tx, chainID)
	if err == nil && signed == nil {
		return nil, fmt.Errorf("%w for %s: %w", ErrSignerRefused, f.address, errNoTransaction)
	}
	return signed, err //nolint:wrapcheck // the caller wraps it, without the URL
}

// failure says in words what came of a question, without the endpoint's secrets.
// What a signer says is quoted and cut: it goes into the log and the state.
func (f *ExternalFunding) failure(ctx context.Context, err error) error {
	var answer rpc.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("external signer at %s: %w", f.name, ctx.Err())
	case errors.Is(err, ErrSignerRefused):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %s, within %v", ErrSignerUnavailable, f.name, f.timeout)
	case errors.As(err, &answer) && answer.ErrorCode() != codeTimedOut:
		return fmt.Errorf("%w for %s: %s says %.200q", ErrSignerRefused, f.address, f.name, answer.Error())
	}
	return fmt.Errorf("%w: %s: %.200s", ErrSignerUnavailable, f.name, withoutURL(err).Error())
}

// signerTrouble makes what is wrong with the signer a reason to wait.
func signerTrouble(key validator.PublicKey, err error) error {
	switch {
	case errors.Is(err, ErrSignerUnavailable):
		return waitFor(SignerUnavailable, "%v, so the deposit for %s is not signed", err, key)
	case errors.Is(err, ErrSignerRefused), errors.Is(err, errSigner):
		return waitFor(SignerRefused, "%v, so the deposit for %s is not made", err, key)
	}
	return fmt.Errorf("deposit for %s: %w", key, err)
}
