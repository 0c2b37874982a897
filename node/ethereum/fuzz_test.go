package ethereum

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// liar answers every call of a batch with the next line of a text, or, if it begins with
// a bang, the whole batch with what comes after it.
type liar []byte

// RoundTrip implements http.RoundTripper.
func (l liar) RoundTrip(r *http.Request) (*http.Response, error) {
	body, whole := bytes.CutPrefix(l, []byte("!"))
	if !whole {
		var calls []struct {
			ID json.RawMessage `json:"id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&calls); err != nil {
			return nil, err
		}
		lines := bytes.Split(l, []byte("\n"))
		body = []byte("[")
		for i, call := range calls {
			body = append(append(append(append(append(body, `{"jsonrpc":"2.0","id":`...), call.ID...), `,"result":`...), lines[i%len(lines)]...), `},`...)
		}
		body = append(bytes.TrimSuffix(body, []byte(",")), ']')
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}

// FuzzExecutionClient: whatever an execution client answers, asking it ends, and without
// a panic; what can not be is refused.
func FuzzExecutionClient(f *testing.F) {
	block := `{"number":"0x1","hash":"0x` + string(bytes.Repeat([]byte("ab"), 32)) + `","baseFeePerGas":"0x7"}`
	log := `{"address":"0x00000000219ab540356cbb839cbe05303d7705fa","topics":["` + depositTopic.Hex() + `"],"data":"0x","blockNumber":"0x1","transactionHash":"` +
		common.Hash{1}.Hex() + `","transactionIndex":"0x0","blockHash":"` + common.Hash{2}.Hex() + `","logIndex":"0x0"}`
	for _, seed := range []string{
		"", "null", "!", "![]", "![null]", "!null", `!{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}`,
		"\"0x1\"\n" + block + "\n" + block + "\n\"0x60\"\nfalse", block + "\n[]\n" + block, block + "\n[" + log + "]\n" + block, block + "\n[" + log + "," + log + "]\n" + block,
		block + "\n[null,null]\n" + block, `{"status":"0x1","logs":[null]}`, `{"status":"0x1","logs":[` + log + `]}`, `{"currentBlock":"0x1","highestBlock":"0x9"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		r, err := rpc.DialOptions(t.Context(), "http://liar.example", rpc.WithHTTPClient(&http.Client{Transport: boundedTransport{liar(answer), mostAnswer}}))
		require.NoError(t, err)
		defer r.Close()
		c := &client{rpc: r, host: "liar.example"}
		e := &endpoint{client: c}
		_ = e.ask(t.Context(), [20]byte{1}, time.Now())

		cfg := Config{Network: (&chain{}).network(), Confirmations: 64, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
		x := newIndexer(cfg)
		defer func() { require.NoError(t, x.Close()) }()
		_, err = x.readTo(t.Context(), c, extent{genesis: &block0, head: &block9}, history{}, 3)
		if err != nil {
			require.NotErrorIs(t, err, errDamagedIndex)
		}
		var got *receipt
		if err := c.all(t.Context(), getReceipt(common.Hash{1}, &got)); err == nil && got != nil {
			p := &pass{duty: &Duty{cfg: cfg}}
			require.False(t, p.pays(got, &fsmpb.Deposit{Pubkey: make([]byte, 48)}))
		}
	})
}

var block0, block9 = block{Hash: common.Hash{1}}, block{Number: 9, Hash: common.Hash{9}}

// FuzzIndexFile: whatever stands in the file, it is taken, or said to be damaged.
func FuzzIndexFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), "index.db")
	file, err := openIndexFile(path, true)
	require.NoError(f, err)
	require.NoError(f, file.change(func(c *change) error {
		key, value := sampleEvent(1).row()
		checkKey, checkValue := checkpoint{number: 1, next: 1}.row()
		return errors.Join(c.set(bucketEvents, key, value), c.set(bucketBlocks, checkKey, checkValue))
	}))
	require.NoError(f, file.close())
	good, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(good)
	f.Add(good[:4096])
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 16384))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "index.db")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		file, err := openIndexFile(path, true)
		if err != nil {
			require.ErrorIs(t, err, errDamagedIndex)
			return
		}
		defer func() { require.NoError(t, file.close()) }()
		if _, err := file.load(); err != nil {
			require.ErrorIs(t, err, errDamagedIndex)
		}
		if _, err := file.seen(sampleEvent(1).key); err != nil {
			require.ErrorIs(t, err, errDamagedIndex)
		}
	})
}
