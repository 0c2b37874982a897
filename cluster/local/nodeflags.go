package local

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// WithdrawalAddress gets the stakes back on a chain where nobody ever withdraws.
const WithdrawalAddress = "0x000000000000000000000000000000000000dEaD"

// nodeName is how the node with this index is called, from 0.
func nodeName(i int) string { return "n" + strconv.Itoa(i+1) }

// site is what all nodes are told.
type site struct {
	folder  *folder
	ports   ports
	funding funding
	faucet  funding // gives ether away; not there where the funding account has plenty
	tokens  tokens
	kek     string               // file
	seals   func(i int) []string // what --seal says in place of the file kek; may be nil
	tls     certificates
	chain   ClusterChain
	found   []string             // NAME=HOST:PORT of those who found the cluster; all where it is empty
	more    func(i int) []string // flags of a node that overrule ours; may be nil
	env     []string             // of the nodes besides
	place   Place                // nil for loopback
}

// host is that of a node.
func (s *site) host(i int) string {
	if s.place == nil {
		return loopback
	}
	return s.place.Host(i)
}

func (s *site) address(i, port int) string { return net.JoinHostPort(s.host(i), strconv.Itoa(port)) }

func (s *site) chainAddress() string {
	if s.place == nil {
		return address(s.ports.Chain)
	}
	return net.JoinHostPort(s.place.ChainHost(), strconv.Itoa(s.ports.Chain))
}

func (s *site) apiURL(i int) string { return s.tls.scheme() + "://" + s.address(i, s.ports.API[i]) }

func (s *site) apiURLs() []string {
	list := make([]string, len(s.ports.API))
	for i := range list {
		list[i] = s.apiURL(i)
	}
	return list
}

// peers is the value of --peers.
func (s *site) peers() string {
	if len(s.found) > 0 {
		return strings.Join(s.found, ",")
	}
	list := make([]string, len(s.ports.Raft))
	for i, port := range s.ports.Raft {
		list[i] = nodeName(i) + "=" + s.address(i, port)
	}
	return strings.Join(list, ",")
}

func (s *site) dataDir(i int) string { return s.folder.in(nodeName(i), "data") }

func (s *site) log(i int) string { return s.folder.in(nodeName(i), "log") }

// serverArgs is the command line of a node's process.
func (s *site) serverArgs(i int) []string {
	raft := s.address(i, s.ports.Raft[i])
	args := []string{
		"server",
		"--name", nodeName(i),
		"--data-dir", s.dataDir(i),
		"--api-addr", s.address(i, s.ports.API[i]),
		"--advertise-api", s.apiURL(i),
		"--raft-addr", raft,
		"--advertise-raft", raft,
		"--peers", s.peers(),
		"--token-hashes", s.tokens.Hashes,
		"--rate-limit", "0", // everything on this machine comes under three tokens, measurements too
		"--seal", strings.Join(s.sealArgs(i), ","),
		"--execution-rpc", s.chain.RPC,
		"--network", "custom",
		"--chain-id", strconv.FormatUint(s.chain.ChainID, 10),
		"--deposit-contract", s.chain.DepositContract,
		"--fork-version", s.chain.ForkVersion,
		"--confirmations", "1",
		"--withdrawal-address", WithdrawalAddress,
		"--amount-gwei", "32000000000",
		"--funding-keystore", s.funding.Keystore,
		"--funding-password-file", s.funding.Password,
		"--deposits-in-flight", "16",
		"--witness", "none",
		"--rest-after-proof", "0s",
		"--assignments-public",
		"--audit-file", s.folder.in(nodeName(i), "audit.jsonl"),
		"--log-format", "text",
		"--log-level", "info",
	}
	args = append(args, s.tls.serverArgs(i)...)
	if s.more != nil {
		args = append(args, s.more(i)...)
	}
	return args
}

// sealArgs are the key-encryption keys of a node.
func (s *site) sealArgs(i int) []string {
	if s.seals == nil {
		return []string{"file:" + s.kek}
	}
	return s.seals(i)
}

// clientArgs is the command line of one of our own client commands, under the token in a file.
func (s *site) clientArgs(token, name string, args ...string) []string {
	access := append([]string{name, "--server", strings.Join(s.apiURLs(), ","), "--token-file", token}, s.tls.clientArgs()...)
	return append(access, args...)
}

func (s *site) mnemonic() string { return s.folder.in("mnemonic") }

// example is the pod with this index that gets keys for show, from 0.
func (s *site) example(i int) (pod, out string) {
	pod = fmt.Sprintf("validator-%d", i)
	return pod, s.folder.in("pods", pod)
}
