package devchain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/rpc"
)

// drainTime is how long Close waits for answers under way.
const drainTime = 5 * time.Second

// rpcServer serves the modules eth, net, txpool and web3. It is not the one of package
// node because the listener must be ours before anything touches the disk, and the
// answers must wait for the disk.
type rpcServer struct {
	rpc  *rpc.Server
	http *http.Server
	done chan error // the result of http.Serve
}

// serveRPC answers requests on listener until close.
func serveRPC(listener net.Listener, apis []rpc.API, durable *gate) (*rpcServer, error) {
	s := &rpcServer{rpc: rpc.NewServer(), done: make(chan error, 1)}
	s.rpc.SetBatchLimits(node.DefaultConfig.BatchRequestLimit, node.DefaultConfig.BatchResponseMaxSize)
	for _, api := range append(apis, rpc.API{Namespace: "web3", Service: web3{}}) {
		switch api.Namespace {
		case "eth", "net", "txpool", "web3":
		default: // admin, debug, miner: not for everybody who reaches the port
			continue
		}
		if err := s.rpc.RegisterName(api.Namespace, api.Service); err != nil {
			return nil, fmt.Errorf("register RPC module %s: %w", api.Namespace, err)
		}
	}
	// The handler stack refuses host names other than localhost, so that no web page
	// reaches the chain by DNS rebinding; IP addresses pass.
	s.http = &http.Server{
		Handler:           node.NewHTTPHandlerStack(durable.hold(s.rpc), nil, []string{"localhost"}, nil, false),
		ReadHeaderTimeout: rpc.DefaultHTTPTimeouts.ReadHeaderTimeout,
		ReadTimeout:       rpc.DefaultHTTPTimeouts.ReadTimeout,
		WriteTimeout:      rpc.DefaultHTTPTimeouts.WriteTimeout,
		IdleTimeout:       rpc.DefaultHTTPTimeouts.IdleTimeout,
	}
	go func() { s.done <- s.http.Serve(listener) }()
	return s, nil
}

// close stops listening, waits a while for answers under way, and drops the rest.
func (s *rpcServer) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.rpc.Stop()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// web3 is the module that package node keeps to itself.
type web3 struct{}

// ClientVersion answers web3_clientVersion.
func (web3) ClientVersion() string { return "keysteward-devchain" }

// Sha3 answers web3_sha3: Keccak-256 of input.
func (web3) Sha3(input hexutil.Bytes) hexutil.Bytes { return crypto.Keccak256(input) }

// gate holds back answers while a block is being sealed and written. An answer that
// shows the block was computed after sealing began, so it leaves only when the block is
// on disk. The computation itself is not held up, and a request that waits for a block
// (eth_sendRawTransactionSync) does not keep the sealer out.
type gate struct {
	mu     sync.RWMutex
	failed error
}

// seal runs do while no answer leaves. Once do has failed none ever leaves again,
// because nobody knows what is on disk.
func (g *gate) seal(do func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = do()
	return g.failed
}

// hold wraps next so that its answers pass through the gate.
func (g *gate) hold(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := held{header: w.Header(), status: http.StatusOK}
		next.ServeHTTP(&answer, r)
		g.mu.RLock()
		failed := g.failed
		g.mu.RUnlock()
		if failed != nil {
			http.Error(w, "the development chain has failed", http.StatusInternalServerError)
			return
		}
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes()) // a caller that is gone misses nothing
	})
}

// held keeps an answer until it may leave.
type held struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *held) Header() http.Header             { return h.header }
func (h *held) WriteHeader(status int)          { h.status = status }
func (h *held) Write(chunk []byte) (int, error) { return h.body.Write(chunk) }
