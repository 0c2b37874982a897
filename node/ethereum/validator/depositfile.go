package validator

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// DepositCLIVersion stands in every deposit file. Its readers insist on at least
// 2.7.0, the version whose format this is.
const DepositCLIVersion = "2.7.0"

// ErrDuplicate is returned for a file with two deposits for one public key: the
// second would be a top-up that nobody asked for.
var ErrDuplicate = errors.New("more than one deposit for a public key")

// plainName keeps a network's name from needing JSON escapes, which Python and Go
// write differently.
var plainName = regexp.MustCompile(`^[A-Za-z0-9._ -]+$`)

// EncodeDepositFile writes the deposit_data.json that launchpads read, byte for
// byte as the deposit command line tools write it: Python's separators, one line,
// no newline at its end, keys in their order, hexadecimal without 0x. Every
// deposit is verified for the network first; nothing is written on an error.
func EncodeDepositFile(w io.Writer, n Network, deposits []DepositData) error {
	if !plainName.MatchString(n.Name) {
		return fmt.Errorf("network name %q is empty or has characters other than letters, digits, dot, dash, underscore and space", n.Name)
	}
	seen := make(map[PublicKey]bool, len(deposits))
	entries := make([]string, len(deposits))
	for i, deposit := range deposits {
		if seen[deposit.PublicKey] {
			return fmt.Errorf("%w: %s", ErrDuplicate, deposit.PublicKey)
		}
		seen[deposit.PublicKey] = true
		if err := deposit.Verify(n.ForkVersion); err != nil {
			return err
		}
		entries[i] = depositEntry(n, deposit)
	}
	if _, err := io.WriteString(w, "["+strings.Join(entries, ", ")+"]"); err != nil {
		return fmt.Errorf("write deposit data: %w", err)
	}
	return nil
}

func depositEntry(n Network, d DepositData) string {
	message, data := d.MessageRoot(), d.Root()
	return fmt.Sprintf(`{"pubkey": "%s", "withdrawal_credentials": "%s", "amount": %d, "signature": "%s", `+
		`"deposit_message_root": "%s", "deposit_data_root": "%s", "fork_version": "%s", `+
		`"network_name": "%s", "deposit_cli_version": "%s"}`,
		hex.EncodeToString(d.PublicKey[:]), hex.EncodeToString(d.Credentials[:]), d.AmountGwei,
		hex.EncodeToString(d.Signature[:]), hex.EncodeToString(message[:]), hex.EncodeToString(data[:]),
		hex.EncodeToString(n.ForkVersion[:]), n.Name, DepositCLIVersion)
}
