package seal

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// tpmTimeout bounds one use of a TPM: several commands, of which making the primary
// key is the slowest, a second on slow ones.
const tpmTimeout = 10 * time.Second

// tpmKEK is a P-256 key that a TPM 2.0 makes from its owner seed and a fixed template,
// the same each time, so that nothing is stored. Its private part never leaves the TPM.
type tpmKEK struct {
	device  string // a device, or unix:PATH for the socket of a software TPM
	timeout time.Duration
	// busy holds its one element while somebody uses the TPM, which has room for few keys.
	busy chan struct{}
}

func newTPM(device string) (KEK, error) {
	return tpmKEK{device: device, timeout: tpmTimeout, busy: make(chan struct{}, 1)}, nil
}

// loadedKey is the key while it lies in the TPM.
type loadedKey struct {
	tpm    transport.TPM
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName // as the TPM says
	public tpm2.TPMTPublic
	point  *ecdh.PublicKey
}

// with loads the key, calls use and takes the key out again.
func (t tpmKEK) with(ctx context.Context, use func(key *loadedKey) error) error {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	err := t.alone(ctx, func() error {
		tpm, err := openTPM(ctx, t.device)
		if err != nil {
			return err
		}
		defer tpm.Close()
		key, err := loadPrimary(tpm)
		if err != nil {
			return err
		}
		defer func() { _, _ = tpm2.FlushContext{FlushHandle: key.handle}.Execute(tpm) }()
		return use(key)
	})
	switch {
	case err == nil, errors.Is(err, ErrOpen):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w tpm %s: no answer in time: %w: %w", ErrKEK, t.device, context.Cause(ctx), err)
	default:
		return fmt.Errorf("%w tpm %s: %w", ErrKEK, t.device, err)
	}
}

// alone calls use while nobody else uses this TPM through us.
func (t tpmKEK) alone(ctx context.Context, use func() error) error {
	select {
	case t.busy <- struct{}{}:
		defer func() { <-t.busy }()
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller says whose
	}
	if err := ctx.Err(); err != nil { // both may have been ready
		return err //nolint:wrapcheck // the caller says whose
	}
	return use()
}

// loadPrimary makes the primary key and checks that it is the one that was asked for.
func loadPrimary(tpm transport.TPM) (*loadedKey, error) {
	answer, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpmTemplate())}.Execute(tpm)
	if err != nil {
		return nil, fmt.Errorf("make the primary key: %w", explainTPM(err))
	}
	key := &loadedKey{tpm: tpm, handle: answer.ObjectHandle, name: answer.Name}
	public, err := answer.OutPublic.Contents()
	if err == nil {
		key.public = *public
		key.point, err = pointOf(public)
	}
	if err != nil {
		_, _ = tpm2.FlushContext{FlushHandle: key.handle}.Execute(tpm)
		return nil, fmt.Errorf("the primary key is not what was asked for: %w", err)
	}
	return key, nil
}

// explainTPM adds what an operator can do.
func explainTPM(err error) error {
	switch {
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		return fmt.Errorf("the owner hierarchy has a password, and must have none: %w", err)
	case errors.Is(err, tpm2.TPMRCHierarchy):
		return fmt.Errorf("the owner hierarchy is switched off in the firmware: %w", err)
	case errors.Is(err, tpm2.TPMRCObjectMemory), errors.Is(err, tpm2.TPMRCSessionMemory):
		return fmt.Errorf("the TPM is full of what others left in it; /dev/tpmrm0 cleans up behind them: %w", err)
	}
	return err
}

// Curve implements ecdh.KeyExchanger.
func (k *loadedKey) Curve() ecdh.Curve { return ecdh.P256() }

// PublicKey implements ecdh.KeyExchanger.
func (k *loadedKey) PublicKey() *ecdh.PublicKey { return k.point }

// ECDH implements ecdh.KeyExchanger within the TPM. The answer comes encrypted under
// a session that only this TPM can follow, so who listens on the bus learns nothing.
func (k *loadedKey) ECDH(theirs *ecdh.PublicKey) ([]byte, error) {
	point := theirs.Bytes() // 4, x, y
	if len(point) != 1+2*coordinate {
		return nil, errors.New("not a point of P-256")
	}
	session := tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Salted(k.handle, k.public), tpm2.AESEncryption(128, tpm2.EncryptOut))
	answer, err := tpm2.ECDHZGen{
		KeyHandle: tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: session},
		InPoint: tpm2.New2B(tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1 : 1+coordinate]},
			Y: tpm2.TPM2BECCParameter{Buffer: point[1+coordinate:]},
		}),
	}.Execute(k.tpm)
	if err != nil {
		return nil, fmt.Errorf("ECDH in the TPM: %w", explainTPM(err))
	}
	shared, err := answer.OutPoint.Contents()
	if err != nil {
		return nil, fmt.Errorf("ECDH in the TPM: %w", err)
	}
	x := make([]byte, coordinate)
	if len(shared.X.Buffer) > coordinate {
		return nil, errors.New("ECDH in the TPM: point of another curve")
	}
	copy(x[coordinate-len(shared.X.Buffer):], shared.X.Buffer)
	clear(shared.X.Buffer)
	return x, nil
}

// Check implements KEK.
func (t tpmKEK) Check(ctx context.Context) error {
	return t.with(ctx, func(*loadedKey) error { return nil })
}

// Identify implements KEK. The ID is the digest of the public area, which is the
// TPM's own name for the key.
func (t tpmKEK) Identify(ctx context.Context, _ string) (identity Identity, err error) {
	err = t.with(ctx, func(key *loadedKey) error {
		identity = tpmIdentity(key.point)
		return nil
	})
	return identity, err
}

// Wrap implements KEK. Only the public part is used.
func (t tpmKEK) Wrap(ctx context.Context, clusterID string, plaintext, additional []byte) ([]byte, error) {
	identity, err := t.Identify(ctx, clusterID)
	if err != nil {
		return nil, err
	}
	return wrapForTPM(identity, plaintext, additional)
}

// Unwrap implements KEK.
func (t tpmKEK) Unwrap(ctx context.Context, _ string, wrapped, additional []byte) (plaintext []byte, err error) {
	if len(wrapped) < tpmWrapHead || wrapped[0] != tpmWrapVersion {
		return nil, fmt.Errorf("wrapped for a TPM: %w", ErrOpen)
	}
	point, sealed := wrapped[1:tpmWrapHead], wrapped[tpmWrapHead:]
	if _, err := ecdh.P256().NewPublicKey(point); err != nil { // before the TPM is asked
		return nil, fmt.Errorf("wrapped for a TPM: %w: %w", ErrOpen, err)
	}
	err = t.with(ctx, func(key *loadedKey) error {
		private, err := hpke.NewDHKEMPrivateKey(key)
		if err != nil {
			return fmt.Errorf("HPKE: %w", err)
		}
		recipient, err := hpke.NewRecipient(point, private, hpke.HKDFSHA256(), hpke.AES256GCM(), tpmInfo(tpmIdentity(key.point).ID))
		if err != nil {
			return fmt.Errorf("HPKE: %w", err)
		}
		if plaintext, err = recipient.Open(additional, sealed); err != nil {
			return fmt.Errorf("%w: %w", ErrOpen, err)
		}
		return nil
	})
	return plaintext, err
}
