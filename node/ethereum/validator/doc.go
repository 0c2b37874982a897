// Package validator computes everything about Ethereum validator keys and
// their deposits that needs neither a network nor a disk: mnemonics (BIP-39),
// key derivation (EIP-2333, EIP-2334), BLS keys and signatures, withdrawal
// credentials, deposit data with its SSZ hash tree roots, and the file that the
// deposit command line tools write.
//
// It is a leaf: it imports nothing of this project and is the one package below
// node that the client imports as well. The leader that pays for a deposit, and
// the person who prints deposit data from the same 24 words without any server,
// must agree byte for byte, so there is one implementation for both.
//
// Mnemonic, Seed and SecretKey hold secrets. They print as "[redacted]" through
// fmt, log/slog and encoding/json, also inside other values, and are cleared by
// Zero. Go may have copied memory before that, so Zero shortens the life of a
// secret and does not promise its end.
package validator
