package main

import (
	"errors"
	"fmt"
	"strings"

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
		Long: `Tell the IDs of this machine's key-encryption keys, one a line and nothing else.

The ID of a TPM is the fingerprint of its public key: the SHA-256 of the public
area, which is the TPM's own name for the key. Compare it, on the machine itself,
with what "keysteward seal status" shows, before you let the cluster's root key be
wrapped for it with "keysteward seal add".

The ID of a passphrase is another in each cluster, so it needs --cluster-id, which
"keysteward cluster status" tells.`,
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
			for i, kek := range keks {
				if strings.HasPrefix(descriptions[i], "passphrase:") && clusterID == "" {
					failures = append(failures, cli.UsageError(errors.New("--cluster-id is required for a passphrase")))
					continue
				}
				identity, err := kek.Identify(cmd.Context(), clusterID)
				if err != nil {
					failures = append(failures, fmt.Errorf("--seal: %w", err))
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), identity.ID)
			}
			return errors.Join(failures...)
		},
	}
	cmd.Flags().StringSliceVar(&descriptions, "seal", nil, "key-encryption keys, as for the server (required)")
	cmd.Flags().StringVar(&clusterID, "cluster-id", "", "ID of the cluster, for passphrases")
	return cmd
}
