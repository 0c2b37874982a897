package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"sync"
	"time"
)

// ErrTokens is wrapped by every error about a token file.
var ErrTokens = errors.New("invalid token file")

// tokensChecked is how often, at most, the token file is looked at.
const tokensChecked = time.Second

const maxTokenFile = 1 << 20

var saneTokenName = regexp.MustCompile(`^[A-Za-z0-9._:@/-]{1,128}$`)

// Tokens are the bearer tokens of a server's file, which holds their hashes:
//
//	{"tokens":[{"name":"ci","role":"operator","sha256":"<64 hex digits>"}]}
//
// The file is read again when it changes. A file that has become invalid is
// logged, and what was read before stays in force. It may be readable by all,
// because a hash of 32 random bytes tells nothing, but writable by its owner only.
type Tokens struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	checked time.Time
	seen    fs.FileInfo
	byHash  map[[sha256.Size]byte]Caller
}

type tokenFile struct {
	Tokens []tokenEntry `json:"tokens"`
}

type tokenEntry struct {
	Name   string `json:"name"`
	Role   Role   `json:"role"`
	SHA256 string `json:"sha256"`
}

// OpenTokens reads the file; its errors wrap [ErrTokens].
func OpenTokens(path string, log *slog.Logger) (*Tokens, error) {
	t := &Tokens{path: path, log: log, checked: time.Now()}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if t.byHash, t.seen, err = readTokens(path); err != nil {
		return nil, err
	}
	return t, nil
}

// Lookup returns the caller whose token this is. It compares hashes, so the
// time that it takes tells nothing about any token.
func (t *Tokens) Lookup(token string) (Caller, bool) {
	hash := sha256.Sum256([]byte(token))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refresh()
	caller, found := t.byHash[hash]
	return caller, found
}

// refresh reads the file again if it changed since it was last looked at.
func (t *Tokens) refresh() {
	if time.Since(t.checked) < tokensChecked {
		return
	}
	t.checked = time.Now()
	info, err := os.Stat(t.path)
	if err != nil {
		t.log.Error("the token file is gone; the tokens read before stay valid", "file", t.path, "error", err)
		return
	}
	if unchanged(t.seen, info) {
		return
	}
	byHash, info, err := readTokens(t.path)
	if err != nil {
		t.log.Error("the token file changed and is invalid; the tokens read before stay valid", "file", t.path, "error", err)
		return
	}
	t.byHash, t.seen = byHash, info
	t.log.Info("read the token file again", "file", t.path, "tokens", len(byHash))
}

func unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}

func readTokens(path string) (map[[sha256.Size]byte]Caller, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrTokens, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrTokens, path, err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, nil, fmt.Errorf("%w %s: mode %o lets others write: chmod go-w", ErrTokens, path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrTokens, path, err)
	}
	byHash, err := parseTokens(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrTokens, path, err)
	}
	return byHash, info, nil
}

// parseTokens reads the file's text strictly: a slip must not open a door.
func parseTokens(data []byte) (map[[sha256.Size]byte]Caller, error) {
	var file tokenFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("not the expected JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON")
	}
	names := make(map[string]bool)
	byHash := make(map[[sha256.Size]byte]Caller)
	for i, e := range file.Tokens {
		hash, err := hex.DecodeString(e.SHA256)
		switch {
		case err != nil || len(hash) != sha256.Size:
			return nil, fmt.Errorf("token %d: sha256 is not 64 hex digits", i+1)
		case !saneTokenName.MatchString(e.Name) || names[e.Name]:
			return nil, fmt.Errorf("token %d: the name %q is malformed or taken", i+1, e.Name)
		case e.Role != RoleAdmin && e.Role != RoleOperator && e.Role != RoleViewer:
			return nil, fmt.Errorf("token %d: role %q is none of admin, operator, viewer", i+1, e.Role)
		}
		if _, taken := byHash[[sha256.Size]byte(hash)]; taken {
			return nil, fmt.Errorf("token %d: the same token twice", i+1)
		}
		names[e.Name] = true
		byHash[[sha256.Size]byte(hash)] = Caller{Name: e.Name, Role: e.Role}
	}
	return byHash, nil
}
