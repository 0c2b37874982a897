package beacon

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Reasons for which nothing that the beacon node says is believed for now.
var (
	errSyncing = errors.New("the beacon node does not follow the head of the chain")
	errForeign = errors.New("the beacon node is of another network")
)

type syncingAnswer struct {
	Data struct {
		IsSyncing    *bool `json:"is_syncing"`
		IsOptimistic bool  `json:"is_optimistic"`
		ELOffline    bool  `json:"el_offline"`
	} `json:"data"`
}

type contractAnswer struct {
	Data struct {
		ChainID number `json:"chain_id"`
		Address string `json:"address"`
	} `json:"data"`
}

type genesisAnswer struct {
	Data struct {
		ForkVersion    string `json:"genesis_fork_version"`
		ValidatorsRoot string `json:"genesis_validators_root"`
	} `json:"data"`
}

// checkNode returns why the beacon node can not testify now; the error wraps
// errSyncing or errForeign, unless it did not answer.
func (c *client) checkNode(ctx context.Context) error {
	syncing, err := ask[syncingAnswer](ctx, c, http.MethodGet, "/eth/v1/node/syncing", nil)
	if err != nil {
		return err
	}
	switch d := syncing.Data; {
	case d.IsSyncing == nil:
		return fmt.Errorf("%w: it does not tell whether it is syncing", errSyncing)
	case *d.IsSyncing:
		return fmt.Errorf("%w: it is syncing", errSyncing)
	case d.IsOptimistic:
		return fmt.Errorf("%w: it is optimistic, its execution client has not checked the head", errSyncing)
	case d.ELOffline:
		return fmt.Errorf("%w: its execution client is offline", errSyncing)
	}
	contract, err := ask[contractAnswer](ctx, c, http.MethodGet, "/eth/v1/config/deposit_contract", nil)
	if err != nil {
		return err
	}
	if err := sameContract(c.cfg.Network, contract); err != nil {
		return err
	}
	genesis, err := ask[genesisAnswer](ctx, c, http.MethodGet, "/eth/v1/beacon/genesis", nil)
	if err != nil {
		return err
	}
	return sameGenesis(c.cfg.Network, genesis)
}

func sameContract(n validator.Network, a contractAnswer) error {
	if uint64(a.Data.ChainID) != n.ChainID {
		return fmt.Errorf("%w: chain ID %d, want %d", errForeign, a.Data.ChainID, n.ChainID)
	}
	if !isHex(a.Data.Address, n.DepositContract[:]) {
		return fmt.Errorf("%w: deposit contract %.60q, want 0x%x", errForeign, a.Data.Address, n.DepositContract)
	}
	return nil
}

// sameGenesis compares what tells networks apart even where chain IDs are made up.
func sameGenesis(n validator.Network, a genesisAnswer) error {
	if !isHex(a.Data.ForkVersion, n.ForkVersion[:]) {
		return fmt.Errorf("%w: genesis fork version %.20q, want 0x%x", errForeign, a.Data.ForkVersion, n.ForkVersion)
	}
	if n.GenesisValidatorsRoot != [32]byte{} && !isHex(a.Data.ValidatorsRoot, n.GenesisValidatorsRoot[:]) {
		return fmt.Errorf("%w: genesis validators root %.80q, want 0x%x", errForeign, a.Data.ValidatorsRoot, n.GenesisValidatorsRoot)
	}
	return nil
}

func isHex(text string, want []byte) bool {
	digits, prefixed := strings.CutPrefix(text, "0x")
	got, err := hex.DecodeString(digits)
	return prefixed && err == nil && bytes.Equal(got, want)
}
