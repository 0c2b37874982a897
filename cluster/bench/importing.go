package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

var errImport = errors.New("not all were imported")

// measureImport times keys import of as many PBKDF2 keystores under one password.
// Making them takes about as long, and is not measured.
func (c *localCluster) measureImport(ctx context.Context, keys int) ([]figure, error) {
	dir := filepath.Join(c.dir, "import")
	if err := makeKeystores(ctx, dir, keys); err != nil {
		return nil, err
	}
	f, err := c.file()
	if err != nil {
		return nil, err
	}
	servers := make([]string, len(f.Nodes))
	for i, n := range f.Nodes {
		servers[i] = n.API
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "keysteward"), "keys", "import", dir, //nolint:gosec // our own binary
		"--server", strings.Join(servers, ","), "--token-file", f.AdminTokenFile, "--password-file", filepath.Join(dir, "password"), "-o", "json")
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	elapsed := time.Since(start)
	if err != nil {
		return nil, fmt.Errorf("keysteward keys import: %w", err)
	}
	if n := bytes.Count(out, []byte(`"result": "imported"`)); n != keys {
		return nil, fmt.Errorf("keysteward keys import: %w: %d keys of %d", errImport, n, keys)
	}
	return []figure{{Name: fmt.Sprintf("keysteward keys import, %d PBKDF2 keystores", keys), Unit: "s", Value: elapsed.Seconds(), Runs: 1}}, nil
}

// makeKeystores writes keystores of another seed than the cluster's.
func makeKeystores(ctx context.Context, dir string, keys int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keystores: %w", err)
	}
	text := []byte("a password of the bench")
	if err := os.WriteFile(filepath.Join(dir, "password"), text, 0o600); err != nil {
		return fmt.Errorf("keystores: %w", err)
	}
	seed, err := validator.SeedFromBytes(bytes.Repeat([]byte{0xc0}, 64))
	if err != nil {
		return fmt.Errorf("keystores: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range keys {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("keystores: %w", err)
			}
			return makeKeystore(dir, seed, uint64(i), text) //nolint:gosec // an index
		})
	}
	return g.Wait() //nolint:wrapcheck // says what it is
}

func makeKeystore(dir string, seed *validator.Seed, index uint64, text []byte) error {
	secret, err := seed.SigningKey(index)
	if err != nil {
		return fmt.Errorf("keystore %d: %w", index, err)
	}
	password, err := keystore.NewPassword(text)
	if err != nil {
		return fmt.Errorf("keystore %d: %w", index, err)
	}
	k, err := keystore.Encrypt(secret, password, keystore.PBKDF2, validator.SigningPath(index), rand.Reader)
	if err != nil {
		return fmt.Errorf("keystore %d: %w", index, err)
	}
	raw, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keystore %d: %w", index, err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("keystore-%d.json", index)), raw, 0o600); err != nil {
		return fmt.Errorf("keystore %d: %w", index, err)
	}
	return nil
}
