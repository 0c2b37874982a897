package credential

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is the time of the tests, in whole seconds as certificates have it.
var start = time.Unix(1_800_000_000, 0).UTC()

func issue(t testing.TB, from time.Time, life time.Duration) Credential {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "alice"}, NotBefore: from, NotAfter: from.Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	c, err := newCredential(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	require.NoError(t, err)
	return c
}

var (
	errAway    = errors.New("nobody answers")
	errPending = errors.New("there is none yet")
	errGone    = errors.New("it is terminated")
	errMistake = errors.New("no token file")
)

// bench is a source whose cluster and clock do what a test says.
type bench struct {
	*Source

	now    time.Time
	gives  Credential
	looks  error // at what is the newest
	fails  error // without waiting
	awaits error // with waiting
	asked  []bool
	looked int // whether there is another one
	warned []error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	cache, err := OpenCache(filepath.Join(t.TempDir(), "credentials"), "alice")
	require.NoError(t, err)
	b := &bench{now: start, gives: issue(t, start.Add(-time.Minute), time.Hour)}
	b.Source = &Source{
		Cache: cache, For: 5 * time.Minute, Now: func() time.Time { return b.now },
		Warn: func(err error) { b.warned = append(b.warned, err) },
		Means: func(err error) Meaning {
			return map[error]Meaning{errAway: Away, errPending: Pending, errGone: Gone}[err]
		},
		Current: func(_ context.Context, c Credential) (bool, error) {
			b.looked++
			return bytes.Equal(c.Key, b.gives.Key), b.looks
		},
		Fetch: func(_ context.Context, wait bool) (Credential, error) {
			b.asked = append(b.asked, wait)
			if err := map[bool]error{false: b.fails, true: b.awaits}[wait]; err != nil {
				return Credential{}, err
			}
			return b.gives, nil
		},
	}
	return b
}

func (b *bench) get(t *testing.T) (Credential, time.Time) {
	t.Helper()
	c, until, err := b.Get(t.Context())
	require.NoError(t, err)
	require.True(t, until.After(b.now), "or client-go would ask with every request")
	require.True(t, until.Before(c.NotAfter))
	return c, until
}

func TestServedFromTheCache(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, until := b.get(t)
	require.Equal(t, start.Add(5*time.Minute), until)
	b.gives = issue(t, start, time.Hour)
	b.now = start.Add(5*time.Minute - shortest)
	again, until := b.get(t)
	require.Equal(t, first, again)
	require.Equal(t, start.Add(5*time.Minute), until, "of the first")
	require.Equal(t, []int{1, 0}, []int{len(b.asked), b.looked})

	b.now = start.Add(5 * time.Minute)
	again, until = b.get(t)
	require.Equal(t, b.gives, again, "a rotated key is picked up")
	require.Equal(t, start.Add(10*time.Minute), until)
	require.Equal(t, []bool{true, false}, b.asked)
}

// What is still the newest is not disclosed again.
func TestTheSameCertificateIsFetchedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, _ := b.get(t)
	for i := range 3 {
		b.now = b.now.Add(5 * time.Minute)
		again, until := b.get(t)
		require.Equal(t, first, again)
		require.Equal(t, b.now.Add(5*time.Minute), until)
		require.Equal(t, []int{1, i + 1}, []int{len(b.asked), b.looked})
	}
}

func TestAskedAgainWhenItIsToBeRenewed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.For = time.Hour
	b.gives = issue(t, start, 30*time.Minute)
	_, until := b.get(t)
	require.Equal(t, start.Add(20*time.Minute), until, "two thirds of its life")

	b.now = until
	_, until = b.get(t)
	require.Equal(t, 1, b.looked)
	require.Equal(t, b.now.Add(time.Minute), until, "it is not renewed yet")
	b.now = start.Add(29*time.Minute + 40*time.Second)
	_, until = b.get(t)
	require.Equal(t, start.Add(30*time.Minute-margin), until)
}

func TestServedWhileTheClusterIsAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, _ := b.get(t)
	b.looks, b.awaits = errAway, errAway
	b.now = start.Add(6 * time.Minute)
	kept, until := b.get(t)
	require.Equal(t, first, kept)
	require.Equal(t, b.now.Add(30*time.Second), until)
	require.Equal(t, []error{errAway}, b.warned)
	b.now = b.now.Add(29 * time.Second)
	_, _ = b.get(t)
	require.Equal(t, 1, b.looked, "it is left alone for a while")
	b.now = b.now.Add(time.Second)
	_, _ = b.get(t)
	require.Equal(t, 2, b.looked)

	b.now = first.NotAfter
	_, _, err := b.Get(t.Context())
	require.ErrorIs(t, err, errAway)
	require.Equal(t, []bool{true, true}, b.asked, "there is nothing to serve, so it waits")
}

func TestRefusalsAndMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		fails   error
		removed bool
		asks    int
	}{
		{"terminated", errGone, true, 2},
		{"a new generation that has none yet", errPending, true, 3},
		{"no token file", errMistake, false, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			_, _ = b.get(t)
			b.now, b.fails, b.awaits, b.gives = start.Add(6*time.Minute), test.fails, test.fails, issue(t, start, time.Hour)
			c, _, err := b.Get(t.Context())
			require.ErrorIs(t, err, test.fails)
			require.Zero(t, c)
			require.Len(t, b.asked, test.asks)
			_, there := b.Cache.load()
			require.NotEqual(t, test.removed, there)
		})
	}
}

func TestWaitsForTheNewGeneration(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, _ = b.get(t)
	b.now, b.fails, b.gives = start.Add(6*time.Minute), errPending, issue(t, start.Add(6*time.Minute), time.Hour)
	c, _ := b.get(t)
	require.Equal(t, b.gives, c)
	require.Equal(t, []bool{true, false, true}, b.asked)
}

func TestWithoutACache(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Cache, b.For = nil, 0
	for range 2 {
		_, until, err := b.Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, start.Add(shortest), until)
	}
	require.Equal(t, []bool{true, true}, b.asked)
}

func TestAClockThatWentBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, _ = b.get(t)
	b.now = start.Add(-time.Second)
	_, _ = b.get(t)
	require.Equal(t, 1, b.looked)
}

// Kubectls that start together ask the cluster once.
func TestParallel(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	folder, gives := filepath.Join(t.TempDir(), "c"), issue(t, time.Now().Add(-time.Minute), time.Hour)
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			cache, err := OpenCache(folder, "alice")
			if err != nil {
				panic(err)
			}
			s := &Source{Cache: cache, For: time.Minute, Fetch: func(context.Context, bool) (Credential, error) {
				asked.Add(1)
				return gives, nil
			}}
			if c, _, err := s.Get(t.Context()); err != nil || !bytes.Equal(c.Key, gives.Key) {
				panic(fmt.Sprint(c, err))
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 1, asked.Load())
}

func TestALockThatIsHeld(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	unlock, err := b.Cache.lock(t.Context())
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = b.Get(ctx)
	require.NoError(t, err, "nobody has to have a cache")
	require.Len(t, b.warned, 1)
	require.ErrorIs(t, b.warned[0], ErrCache)
}

func TestExecInfo(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"": "",
		`{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}`: "",
		`{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential"}`:                         "v1beta1",
		`{"apiVersion":"client.authentication.k8s.io/v1","kind":"TokenReview"}`:                                 "TokenReview",
		`{}`: "want apiVersion: client.authentication.k8s.io/v1",
		`x`:  "no JSON",
	}
	for text, says := range tests {
		err := CheckExecInfo(text)
		if says == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, ErrExecInfo)
		require.ErrorContains(t, err, says)
	}
}

func TestKubeconfigsWithoutACertificate(t *testing.T) {
	t.Parallel()
	const rest = `,"contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"users":[{"name":"a","user":{"token":"t"}}]}`
	for _, text := range []string{"", "{", "a", `{"current-context":"b"` + rest, `{"current-context":"a"` + rest} {
		_, err := FromKubeconfig([]byte(text))
		require.ErrorIs(t, err, ErrKubeconfig, text)
	}
}

func TestNothingPrintsACredential(t *testing.T) {
	t.Parallel()
	c := issue(t, start, time.Hour)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c)
	text, err := json.Marshal(map[string]any{"c": c})
	require.NoError(t, err)
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %x", c, c, c, c, c), fmt.Sprint([]Credential{c}), log.String(), string(text)} {
		require.Contains(t, shown, "[redacted]")
		require.NotContains(t, shown, "PRIVATE")
	}
}
