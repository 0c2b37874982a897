package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Default lifetimes.
const (
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	Lifetime          = 365 * 24 * time.Hour
)

// Names of the two authorities.
const (
	APIAuthority  = "Keysteward API CA"
	RaftAuthority = "Keysteward Raft CA"
)

const (
	secretMode = 0o600
	folderMode = 0o700
)

// Folder is where authorities and certificates are kept:
//
//	ca/api.crt ca/api.key ca/raft.crt ca/raft.key         the authorities
//	nodes/NAME/api.crt api.key raft.crt raft.key          of a node
//	nodes/NAME/api-ca.crt raft-ca.crt                     copies for it
//	clients/NAME.crt NAME.key api-ca.crt                  of callers
type Folder struct {
	Path      string
	API, Raft *Authority
	// Fresh is true if the authorities were made just now.
	Fresh bool
	// Now is when certificates begin.
	Now time.Time
}

// ErrFolder is wrapped by errors about a folder that holds only a part of what it should.
var ErrFolder = errors.New("folder of certificates")

// OpenFolder finds the authorities of a folder.
func OpenFolder(path string, now time.Time) (*Folder, error) {
	f := &Folder{Path: path, Now: now}
	var err error
	if f.API, err = f.openAuthority("api"); err != nil {
		return nil, err
	}
	if f.Raft, err = f.openAuthority("raft"); err != nil {
		return nil, err
	}
	return f, nil
}

// InitFolder finds the authorities of a folder or, where there are none, makes them.
func InitFolder(path string, domains []string, lifetime time.Duration, now time.Time) (*Folder, error) {
	f, err := OpenFolder(path, now)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f = &Folder{Path: path, Now: now, Fresh: true}
	for _, name := range []string{"api", "raft"} {
		for _, file := range []string{f.authorityFile(name, "crt"), f.authorityFile(name, "key")} {
			if _, err := os.Lstat(file); err == nil {
				return nil, fmt.Errorf("%w: %s is there, and not all of its companions in %s: nothing was changed", ErrFolder, file, f.in("ca"))
			}
		}
	}
	for _, domain := range domains {
		if err := checkHost(domain); err != nil {
			return nil, err
		}
	}
	if f.API, err = f.makeAuthority("api", APIAuthority, domains, lifetime); err != nil {
		return nil, err
	}
	f.Raft, err = f.makeAuthority("raft", RaftAuthority, domains, lifetime)
	return f, err
}

func (f *Folder) in(elements ...string) string {
	return filepath.Join(append([]string{f.Path}, elements...)...)
}

func (f *Folder) authorityFile(name, kind string) string { return f.in("ca", name+"."+kind) }

func (f *Folder) openAuthority(name string) (*Authority, error) {
	certificate, err := os.ReadFile(f.authorityFile(name, "crt"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	key, err := os.ReadFile(f.authorityFile(name, "key"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	defer clear(key)
	a, err := ParseAuthority(Pair{Certificate: certificate, Key: key})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.authorityFile(name, "crt"), err)
	}
	return a, nil
}

func (f *Folder) makeAuthority(name, called string, domains []string, lifetime time.Duration) (*Authority, error) {
	a, pair, err := NewAuthority(called, domains, f.Now, lifetime)
	if err != nil {
		return nil, err
	}
	defer clear(pair.Key)
	return a, f.write(pair, f.authorityFile(name, "crt"), f.authorityFile(name, "key"))
}

// IssueNode makes the certificates of a node: one for the API, for its hosts and the
// names that all nodes have besides, and one for the other members, for its hosts
// alone. Those of before are replaced. It returns the folder that the node needs.
func (f *Folder) IssueNode(n Node, apiNames []string, lifetime time.Duration) (string, error) {
	for _, name := range apiNames {
		if err := checkHost(name); err != nil {
			return "", err
		}
	}
	dir := f.in("nodes", n.Name)
	api := Request{Name: n.Name, Hosts: append(append([]string(nil), n.Hosts...), apiNames...), Server: true, Lifetime: lifetime}
	raft := Request{Name: n.Name, Hosts: n.Hosts, Server: true, Client: true, Lifetime: lifetime}
	for _, made := range []struct {
		by      *Authority
		request Request
		name    string
	}{{f.API, api, "api"}, {f.Raft, raft, "raft"}} {
		if err := f.issue(made.by, made.request, filepath.Join(dir, made.name)); err != nil {
			return "", fmt.Errorf("node %s: %w", n.Name, err)
		}
		if err := writeFile(filepath.Join(dir, made.name+"-ca.crt"), made.by.PEM()); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// IssueCaller makes the certificate of a caller, in the place of one of before. It
// returns the path of both files without .crt and .key.
func (f *Folder) IssueCaller(c Caller, lifetime time.Duration) (string, error) {
	path := f.in("clients", c.Name)
	if err := f.issue(f.API, c.Request(lifetime), path); err != nil {
		return "", fmt.Errorf("caller %s: %w", c.Name, err)
	}
	return path, writeFile(f.in("clients", "api-ca.crt"), f.API.PEM())
}

func (f *Folder) issue(by *Authority, r Request, path string) error {
	pair, err := by.Issue(r, f.Now)
	if err != nil {
		return err
	}
	defer clear(pair.Key)
	return f.write(pair, path+".crt", path+".key")
}

// write puts the key before its certificate: a node that looks in between keeps what
// it has.
func (*Folder) write(p Pair, certificate, key string) error {
	if err := writeFile(key, p.Key); err != nil {
		return err
	}
	return writeFile(certificate, p.Certificate)
}

// writeFile makes the file appear whole, mode 0600.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, secretMode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Chmod(secretMode), file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
