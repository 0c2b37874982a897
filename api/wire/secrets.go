package wire

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// AllocationSecrets is the plaintext of [Allocation].Secrets.
type AllocationSecrets struct {
	// Fence of the allocation; a client refuses one lower than it has seen.
	Fence int64 `json:"fence"`
	// Keys in the order of the allocation.
	Keys []KeySecret `json:"keys"`
}

// KeySecret is one validator key. It prints as redacted.
type KeySecret struct {
	// Pubkey is the BLS public key, 0x and 96 hex digits.
	Pubkey string `json:"pubkey"`
	// Path is the EIP-2334 path, empty for an imported key.
	Path string `json:"path"`
	// Secret is the BLS secret key, 32 bytes big endian.
	Secret []byte `json:"secret"`
}

// String redacts the secret.
func (k KeySecret) String() string { return "KeySecret(" + k.Pubkey + ", [redacted])" }

// GoString redacts the secret.
func (k KeySecret) GoString() string { return k.String() }

// Format redacts the secret for every verb.
func (k KeySecret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, k.String()) }

// LogValue redacts the secret.
func (k KeySecret) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON redacts the secret: what logs as JSON must not tell it. Only
// [AllocationSecrets.Encode] does.
func (k KeySecret) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) } //nolint:wrapcheck // can not fail

// String redacts the secrets.
func (s AllocationSecrets) String() string {
	return fmt.Sprintf("AllocationSecrets(fence %d, %d keys, [redacted])", s.Fence, len(s.Keys))
}

// GoString redacts the secrets.
func (s AllocationSecrets) GoString() string { return s.String() }

// Format redacts the secrets for every verb.
func (s AllocationSecrets) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// LogValue redacts the secrets.
func (s AllocationSecrets) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON redacts the secrets; [AllocationSecrets.Encode] does not.
func (s AllocationSecrets) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) } //nolint:wrapcheck // can not fail

// Encode returns the plaintext to seal. The caller zeroes it.
func (s AllocationSecrets) Encode() ([]byte, error) {
	type bareKey KeySecret // without what redacts
	bare := struct {
		Fence int64     `json:"fence"`
		Keys  []bareKey `json:"keys"`
	}{Fence: s.Fence, Keys: make([]bareKey, len(s.Keys))}
	for i, k := range s.Keys {
		bare.Keys[i] = bareKey(k)
	}
	b, err := json.Marshal(bare)
	if err != nil {
		return nil, fmt.Errorf("encode secrets: %w", err)
	}
	return b, nil
}

// DecodeSecrets reads what Encode wrote.
func DecodeSecrets(plaintext []byte) (AllocationSecrets, error) {
	var s AllocationSecrets
	if err := json.Unmarshal(plaintext, &s); err != nil {
		return s, fmt.Errorf("decode secrets: %w", err)
	}
	return s, nil
}

// Zero overwrites the secrets.
func (s AllocationSecrets) Zero() {
	for _, k := range s.Keys {
		clear(k.Secret)
	}
}
