package schedule

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/backup"
)

const accessKey, secretKey = "test-access", "test-secret-key"

// gateway is a real S3 server on this machine.
type gateway struct {
	address, endpoint, credentials string
}

func newGateway(t *testing.T, flags ...string) *gateway {
	t.Helper()
	script, err := filepath.Abs("../../../scripts/tool")
	require.NoError(t, err)
	tool := exec.CommandContext(t.Context(), script, "versitygw")
	tool.Stderr = os.Stderr
	path, err := tool.Output()
	require.NoError(t, err, "scripts/tool versitygw")
	dir := t.TempDir()
	for _, sub := range []string{"data", "meta"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := ln.Addr().String()
	require.NoError(t, ln.Close())
	out, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	server := exec.Command(strings.TrimSpace(string(path)), slices.Concat([]string{"--access", accessKey, "--secret", secretKey, "--port", address}, flags,
		[]string{"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data")})...)
	server.Stdout, server.Stderr = out, out
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = out.Close()
		if text, err := os.ReadFile(out.Name()); err == nil && t.Failed() {
			t.Logf("%s", text)
		}
	})
	g := &gateway{address: address, endpoint: "http://" + address, credentials: filepath.Join(dir, "credentials")}
	require.NoError(t, os.WriteFile(g.credentials, []byte("[default]\naws_access_key_id = "+accessKey+"\naws_secret_access_key = "+secretKey+"\n"), 0o600))
	return g
}

// open waits until the server is there, and makes the bucket.
func (g *gateway) open(t *testing.T, o minio.Options) *gateway {
	t.Helper()
	o.Creds = credentials.NewStaticV4(accessKey, secretKey, "")
	admin, err := minio.New(g.address, &o)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return admin.MakeBucket(t.Context(), "backups", minio.MakeBucketOptions{}) == nil
	}, 20*time.Second, 50*time.Millisecond)
	return g
}

func (g *gateway) bucket(t *testing.T, change ...func(*BucketConfig)) *Bucket {
	t.Helper()
	cfg := BucketConfig{Bucket: "backups", Prefix: "a/b", Endpoint: g.endpoint, Region: "us-east-1", PathStyle: true, CredentialsFile: g.credentials}
	for _, f := range change {
		f(&cfg)
	}
	b, err := NewBucket(cfg)
	require.NoError(t, err)
	return b
}

// text writes itself, and then fails if it is told to.
type text struct {
	content []byte
	err     error
}

func (x text) WriteTo(out io.Writer) (int64, error) {
	n, err := out.Write(x.content)
	return int64(n), errors.Join(err, x.err)
}

// What every place has to do, done with each of them.
func TestPlaces(t *testing.T) {
	t.Parallel()
	g := newGateway(t).open(t, minio.Options{})
	for name, place := range map[string]Store{"folder": NewFolder(t.TempDir()), "bucket": g.bucket(t), "bucket without prefix": g.bucket(t, func(c *BucketConfig) { c.Prefix = "" })} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			large := make([]byte, partBytes+5000) // more than one part of an upload
			_, _ = rand.Read(large)
			b := made(t, "c1", time.Now())
			require.NoError(t, place.Put(t.Context(), b.Manifest.Name(), b))
			require.NoError(t, place.Put(t.Context(), "large", text{content: large}))
			require.NoError(t, place.Put(t.Context(), "large", text{content: large}), "again")
			require.ErrorIs(t, place.Put(t.Context(), "half", text{content: large, err: errTest}), errTest)
			require.ErrorIs(t, place.Put(t.Context(), "short", text{content: large[:5], err: errTest}), errTest)
			require.ErrorIs(t, place.Put(t.Context(), "end", text{content: large[:5], err: io.ErrUnexpectedEOF}), io.ErrUnexpectedEOF)

			list, err := place.List(t.Context())
			require.NoError(t, err)
			sizes := map[string]int64{}
			for _, e := range list {
				sizes[e.Name] = e.Bytes
			}
			require.Equal(t, int64(len(large)), sizes["large"])
			for _, broken := range []string{"half", "short", "end"} {
				require.NotContains(t, sizes, broken, "a file is there whole or not at all")
			}
			require.Len(t, ours(list, "c1"), 1)

			in, err := place.Open(t.Context(), "large")
			require.NoError(t, err)
			back, err := io.ReadAll(in)
			require.NoError(t, err)
			require.True(t, bytes.Equal(large, back))
			require.NoError(t, in.Close())
			in, err = place.Open(t.Context(), b.Manifest.Name())
			require.NoError(t, err)
			m, _, err := backup.Verify(in, b.Key())
			require.NoError(t, err)
			require.Equal(t, b.Manifest.FileID, m.FileID)
			require.NoError(t, in.Close())

			require.NoError(t, place.Remove(t.Context(), "large"))
			require.NoError(t, place.Remove(t.Context(), "large"), "nothing is there")
			list, err = place.List(t.Context())
			require.NoError(t, err)
			for _, e := range list {
				require.NotEqual(t, "large", e.Name)
			}
		})
	}
}

func TestScheduleIntoABucket(t *testing.T) {
	t.Parallel()
	b := newGateway(t).open(t, minio.Options{}).bucket(t)
	s, stop := run(t, Config{Store: b, Every: time.Hour, Keep: 2}, "c1")
	defer stop()
	require.Eventually(t, func() bool { return s.Status().Last.Name != "" }, 20*time.Second, 10*time.Millisecond)
	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Len(t, ours(list, "c1"), 1)
	require.Equal(t, "s3://backups/a/b", s.Status().To)
}

func TestBucketTroubles(t *testing.T) {
	t.Parallel()
	g := newGateway(t).open(t, minio.Options{})
	wrong := filepath.Join(t.TempDir(), "wrong")
	require.NoError(t, os.WriteFile(wrong, []byte("[default]\naws_access_key_id = "+accessKey+"\naws_secret_access_key = another\n"), 0o600))
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(broken.Close)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "http://" + ln.Addr().String()
	require.NoError(t, ln.Close())
	for name, c := range map[string]struct {
		change func(*BucketConfig)
		want   error
	}{
		"no bucket":      {func(c *BucketConfig) { c.Bucket = "another" }, ErrMissing},
		"wrong secret":   {func(c *BucketConfig) { c.CredentialsFile = wrong }, ErrDenied},
		"no credentials": {func(c *BucketConfig) { c.CredentialsFile = "/nowhere" }, ErrDenied},
		"nobody there":   {func(c *BucketConfig) { c.Endpoint = nobody }, ErrAway},
		"a broken one":   {func(c *BucketConfig) { c.Endpoint = broken.URL }, ErrAway},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := g.bucket(t, c.change)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := b.List(ctx)
			require.ErrorIs(t, err, c.want)
			require.ErrorIs(t, b.Put(ctx, "x", text{content: []byte("x")}), c.want)
			require.NotContains(t, err.Error(), "another\n")
		})
	}
}

func TestFolderTroubles(t *testing.T) {
	t.Parallel()
	missing := NewFolder(filepath.Join(t.TempDir(), "unmounted"))
	_, err := missing.List(t.Context())
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorIs(t, missing.Put(t.Context(), "x", text{}), ErrMissing)
	_, err = missing.Open(t.Context(), "x")
	require.ErrorIs(t, err, ErrMissing)

	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, NewFolder(dir).Put(ctx, "x", text{content: make([]byte, 2<<20)}), context.Canceled)
	old := filepath.Join(dir, temporary+"1")
	require.NoError(t, os.WriteFile(old, nil, 0o600))
	young := filepath.Join(dir, temporary+"2")
	require.NoError(t, os.WriteFile(young, nil, 0o600))
	require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-2*abandoned)))
	list, err := NewFolder(dir).List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoFileExists(t, old)
	require.FileExists(t, young, "somebody may be writing it")
}

func TestBucketConfig(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"s3.test", "http://s3.test", "ftp://s3.test", "https://", "https://a/b", "https://u:p@a", "https://a?x=y"} {
		_, err := NewBucket(BucketConfig{Bucket: "backups", Endpoint: endpoint})
		require.ErrorIs(t, err, errEndpoint, endpoint)
		require.NotContains(t, err.Error(), "u:p")
	}
	for _, endpoint := range []string{"", "https://s3.test", "https://s3.test:9000/", "http://127.0.0.1:9000", "http://localhost:1"} {
		_, err := NewBucket(BucketConfig{Bucket: "backups", Endpoint: endpoint})
		require.NoError(t, err, endpoint)
	}
	_, err := NewBucket(BucketConfig{Bucket: "backups", Endpoint: "https://s3.test", CAFile: "/nowhere"})
	require.Error(t, err)
	empty := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(empty, []byte("x"), 0o600))
	_, err = NewBucket(BucketConfig{Bucket: "backups", Endpoint: "https://s3.test", CAFile: empty})
	require.ErrorContains(t, err, "no PEM")
}
