package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client/cli"
	"github.com/keysteward/keysteward/node/seal"
)

// newSealIDCommand is for the machine of a node: it says what the node will announce
// its key-encryption keys as, without the cluster.
func newSealIDCommand() *cobra.Command {
	var descriptions []string
	var clusterID string
	cmd := &cobra.Command{
		Use:   "seal-id --seal KIND:WHERE",
		Short: "Tell the IDs of this machine's key-encryption keys",
		Long: `Tell the IDs of this machine's key-encryption keys, one a line.

The ID of a TPM is the fingerprint of its public key: the SHA-256 of the public
area, which is the TPM's own name for the key. Compare it, on the machine itself,
with what "keysteward seal status" shows, before you let the cluster's root key be
wrapped for it with "keysteward seal add".

The ID of a passphrase is another in each cluster, so it needs --cluster-id.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(descriptions) == 0 {
				return cli.UsageError(errors.New("--seal is required"))
			}
			keks := make([]seal.KEK, len(descriptions))
			for i, description := range descriptions {
				var err error
				if keks[i], err = seal.ParseKEK(description); err != nil {
					return cli.UsageError(fmt.Errorf("--seal: %w", err))
				}
			}
			var failures []error
			for _, kek := range keks {
				identity, err := kek.Identify(cmd.Context(), clusterID)
				if err != nil {
					failures = append(failures, fmt.Errorf("--seal: %w", err))
					continue
				}
				printIdentity(cmd.OutOrStdout(), identity)
			}
			return errors.Join(failures...)
		},
	}
	cmd.Flags().StringSliceVar(&descriptions, "seal", nil, "key-encryption keys, as for the server (required)")
	cmd.Flags().StringVar(&clusterID, "cluster-id", "", "ID of the cluster, as keysteward status shows it; for passphrases")
	return cmd
}

func printIdentity(out io.Writer, identity seal.Identity) {
	switch {
	case identity.Public != nil:
		fmt.Fprintf(out, "%s\tfingerprint of the public key in this TPM\n", identity.ID)
	case identity.Version != "":
		fmt.Fprintf(out, "%s\tencrypts with %q now\n", identity.ID, identity.Version)
	default:
		fmt.Fprintln(out, identity.ID)
	}
}
