package schedule

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// BucketConfig says which S3-compatible bucket, and how it is reached.
type BucketConfig struct {
	// Bucket, and what the names of objects begin with: no slash at either end.
	Bucket, Prefix string
	// Endpoint is the URL of the server; empty is Amazon's. http is for loopback only.
	Endpoint string
	// Region of the bucket; empty asks the server.
	Region string
	// PathStyle puts the bucket into the path and not into the host's name.
	PathStyle bool
	// CredentialsFile is a shared credentials file (INI), of which Profile is read. It
	// is read anew when the credentials are needed. Without it the variables
	// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN are taken, or what
	// the machine or pod is given (IAM).
	CredentialsFile, Profile string
	// CAFile holds the PEM certificates of the authorities that vouch for the endpoint;
	// the system's if empty.
	CAFile string
}

// partBytes is what a part of an upload has, and what one keeps in memory: with
// S3's 10,000 parts 160 GB are the most.
const partBytes = 16 << 20

// Bucket keeps backups in an S3-compatible bucket, which has to be there.
type Bucket struct {
	cfg    BucketConfig
	client *minio.Client
}

var errEndpoint = errors.New("want https://HOST[:PORT], or http:// on loopback")

// NewBucket checks the configuration; nobody is asked yet.
func NewBucket(cfg BucketConfig) (*Bucket, error) {
	endpoint, secure := "s3.amazonaws.com", true
	if cfg.Endpoint != "" {
		u, err := url.Parse(cfg.Endpoint)
		if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil ||
			u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
			return nil, fmt.Errorf("endpoint of the bucket: %w", errEndpoint)
		}
		endpoint, secure = u.Host, u.Scheme == "https"
	}
	lookup := minio.BucketLookupAuto
	if cfg.PathStyle {
		lookup = minio.BucketLookupPath
	}
	transport, err := cfg.transport(secure)
	if err != nil {
		return nil, err
	}
	client, err := minio.New(endpoint, &minio.Options{
		Creds: cfg.credentials(), Secure: secure, Region: cfg.Region, BucketLookup: lookup, MaxRetries: 3, Transport: transport,
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", cfg.Bucket, err)
	}
	return &Bucket{cfg: cfg, client: client}, nil
}

// transport is minio-go's, with the authorities of the configuration.
func (c *BucketConfig) transport(secure bool) (*http.Transport, error) {
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, fmt.Errorf("connections to the bucket: %w", err)
	}
	if c.CAFile == "" || !secure {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("authorities of the bucket: %w", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("authorities of the bucket: %w", errors.New(c.CAFile+" holds no PEM certificate"))
	}
	return t, nil
}

func (c *BucketConfig) credentials() *credentials.Credentials {
	if c.CredentialsFile != "" {
		return credentials.New(&fileCredentials{path: c.CredentialsFile, profile: c.Profile})
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.IAM{Client: &http.Client{Timeout: 10 * time.Second}},
	})
}

// fileCredentials reads a file again every few minutes: its content may be replaced.
type fileCredentials struct {
	path, profile string
	read          time.Time
}

const credentialsLife = 5 * time.Minute

// Retrieve implements credentials.Provider.
func (f *fileCredentials) Retrieve() (credentials.Value, error) {
	v, err := (&credentials.FileAWSCredentials{Filename: f.path, Profile: f.profile}).RetrieveWithCredContext(nil)
	if err != nil {
		return v, fmt.Errorf("%w: credentials file %s: %w", ErrDenied, f.path, err)
	}
	f.read = time.Now()
	return v, nil
}

// RetrieveWithCredContext implements credentials.Provider.
func (f *fileCredentials) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return f.Retrieve()
}

// IsExpired implements credentials.Provider.
func (f *fileCredentials) IsExpired() bool { return time.Since(f.read) > credentialsLife }

// String implements Store.
func (b *Bucket) String() string { return "s3://" + path.Join(b.cfg.Bucket, b.cfg.Prefix) }

func (b *Bucket) object(name string) string { return path.Join(b.cfg.Prefix, name) }

// Put implements Store. An upload that breaks off leaves no object.
func (b *Bucket) Put(ctx context.Context, name string, content io.WriterTo) error {
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() { // ended by the pipe, and waited for below
		_, err := content.WriteTo(out)
		written <- err
		_ = out.CloseWithError(err)
	}()
	_, err := b.client.PutObject(ctx, b.cfg.Bucket, b.object(name), in, -1, minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partBytes, SendContentMd5: true,
	})
	_ = in.CloseWithError(context.Canceled) // the writer ends if the upload did not take all
	if failed := <-written; failed != nil && !errors.Is(failed, context.Canceled) {
		return failed // what went wrong here goes before what the server said of it
	}
	return bucketError(err)
}

// Open implements Store.
func (b *Bucket) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := b.client.GetObject(ctx, b.cfg.Bucket, b.object(name), minio.GetObjectOptions{})
	if err != nil {
		return nil, bucketError(err)
	}
	return o, nil
}

// List implements Store.
func (b *Bucket) List(ctx context.Context) ([]Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing's goroutine
	prefix := b.cfg.Prefix
	if prefix != "" {
		prefix += "/"
	}
	var list []Entry
	for o := range b.client.ListObjects(ctx, b.cfg.Bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return nil, bucketError(o.Err)
		}
		list = append(list, Entry{Name: strings.TrimPrefix(o.Key, prefix), Bytes: o.Size})
	}
	return list, nil
}

// Remove implements Store.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	return bucketError(b.client.RemoveObject(ctx, b.cfg.Bucket, b.object(name), minio.RemoveObjectOptions{}))
}

// Reason implements Store.
func (b *Bucket) Reason(err error) error { return bucketError(err) }

// bucketError finds the reason of what a server, or the way to it, said.
func bucketError(err error) error {
	if err == nil {
		return nil
	}
	var answer minio.ErrorResponse
	_ = errors.As(err, &answer)
	var network net.Error
	var stranger *tls.CertificateVerificationError
	switch {
	case errors.As(err, &stranger):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case answer.Code == minio.NoSuchBucket, answer.Code == minio.NoSuchKey:
		return fmt.Errorf("%w: %w", ErrMissing, err)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized, answer.Code == "InvalidAccessKeyId":
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case answer.StatusCode == http.StatusInsufficientStorage, answer.Code == "QuotaExceeded", answer.Code == "XMinioStorageFull":
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.As(err, &network), answer.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
