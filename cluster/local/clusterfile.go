package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// ClusterFileName is the file in the launcher's folder that tells scripts what
// runs where. It is there once the cluster can hand out keys, and is rewritten when
// nodes were started again.
const ClusterFileName = "cluster.json"

// ClusterFile is the content of cluster.json. It names secrets' files, not secrets.
type ClusterFile struct {
	Nodes []ClusterNode `json:"nodes"`
	Chain ClusterChain  `json:"chain"`
	// AdminTokenFile holds a bearer token of the role admin.
	AdminTokenFile string `json:"adminTokenFile"`
	// MnemonicFile holds the 24 words of the cluster's seed.
	MnemonicFile string `json:"mnemonicFile"`
	// CAFile holds the authority of the nodes' APIs; not there without TLS.
	CAFile string `json:"caFile,omitempty"`
}

// ClusterNode is one node.
type ClusterNode struct {
	// ID is the node's ID in GET /v1/cluster.
	ID string `json:"id"`
	// API is a URL, Raft host:port.
	API  string `json:"api"`
	Raft string `json:"raft"`
	// PID is that of the process which ran last.
	PID int `json:"pid"`
}

// ClusterChain is the development chain.
type ClusterChain struct {
	// RPC is the URL of its JSON-RPC.
	RPC     string `json:"rpc"`
	ChainID uint64 `json:"chainId"`
	// DepositContract and FundedAddress are addresses, ForkVersion has 4 bytes: hex with 0x.
	DepositContract string `json:"depositContract"`
	ForkVersion     string `json:"forkVersion"`
	FundedAddress   string `json:"fundedAddress"`
}

// ReadClusterFile reads the cluster.json of a launcher's folder.
func ReadClusterFile(dir string) (ClusterFile, error) {
	var c ClusterFile
	raw, err := os.ReadFile(filepath.Join(dir, ClusterFileName))
	if err != nil {
		return c, fmt.Errorf("read what runs: %w", err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("read what runs: %s: %w", ClusterFileName, err)
	}
	return c, nil
}

// write replaces the file of the folder in one step.
func (c ClusterFile) write(dir string) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", ClusterFileName, err)
	}
	return writeFile(filepath.Join(dir, ClusterFileName), append(raw, '\n'))
}
