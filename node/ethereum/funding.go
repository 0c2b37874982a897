package ethereum

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"os"
	"sync"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Signer signs for the account that pays the deposits. It may be called
// concurrently.
type Signer interface {
	// Address is the account's address.
	Address() common.Address
	// SignTx returns tx signed for the chain (EIP-155); tx is not changed. It may
	// take long, but not once ctx has ended.
	SignTx(ctx context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error)
}

// ErrFundingClosed is returned for signatures asked after Close.
var ErrFundingClosed = errors.New("the funding account's key was cleared from memory")

// KeystoreFunding is a Signer whose key was read from a keystore file of
// go-ethereum (Web3 Secret Storage). It prints as "[redacted]".
type KeystoreFunding struct {
	validator.Redacted
	address common.Address
	mu      sync.RWMutex
	key     validator.Hidden[ecdsa.PrivateKey]
	closed  bool
}

// FundingFromKeystore decrypts keyFile with the password in passwordFile, whose
// final newline does not count. Errors name the file and never the password.
func FundingFromKeystore(keyFile, passwordFile string) (*KeystoreFunding, error) {
	encrypted, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("funding account: read the keystore file: %w", err)
	}
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return nil, fmt.Errorf("funding account: read the password file: %w", err)
	}
	defer clear(password)
	line := bytes.TrimSuffix(bytes.TrimSuffix(password, []byte("\n")), []byte("\r"))
	key, err := keystore.DecryptKey(encrypted, string(line))
	if errors.Is(err, keystore.ErrDecrypt) {
		return nil, fmt.Errorf("funding account %s: the password in %s is wrong: %w", keyFile, passwordFile, err)
	}
	if err != nil {
		return nil, fmt.Errorf("funding account %s: no keystore file of go-ethereum: %w", keyFile, err)
	}
	return &KeystoreFunding{address: key.Address, key: validator.Hide(key.PrivateKey)}, nil
}

// Address implements Signer.
func (f *KeystoreFunding) Address() common.Address { return f.address }

// SignTx implements Signer. After Close it returns ErrFundingClosed.
func (f *KeystoreFunding) SignTx(_ context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return nil, ErrFundingClosed
	}
	signed, err := types.SignTx(tx, types.LatestSignerForChainID(chainID), f.key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", f.address, err)
	}
	return signed, nil
}

// Close clears the key from memory. It never fails and may be repeated.
func (f *KeystoreFunding) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.key.Reveal().D.Bits()) //nolint:staticcheck // the key is not used again
	f.closed = true
	return nil
}
