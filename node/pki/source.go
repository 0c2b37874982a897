package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keysteward/keysteward/node/failpoint"
)

const (
	// lookInterval is the least time between two looks at the files.
	lookInterval = time.Second
	// Intervals at which the log repeats what is wrong, and what will be.
	repeatBad  = time.Hour
	repeatSoon = 24 * time.Hour
)

// Config says whose certificates these are.
type Config struct {
	// Port is how logs, metrics and readiness call the port: api, raft.
	Port string
	Files
	// Mutual wants a certificate that the authorities themselves vouch for, for
	// servers and for clients: both sides of the port have such a one.
	Mutual bool
	// Host is a name or IP for which the certificate must be valid; empty is any.
	Host   string
	Logger *slog.Logger
	// Now is the wall clock; the system's if nil.
	Now func() time.Time
}

// Source is the certificates of one port, as they are now. It is safe for
// concurrent use.
type Source struct {
	cfg     Config
	current atomic.Pointer[Material]
	server  atomic.Pointer[tls.Config] // for current; nil until it is asked for
	looking sync.Mutex                 // held by the one that looks at the files

	mu       sync.Mutex
	lastLook time.Time
	seen     string // of the files that were read last
	failure  error  // why the files of now are not in use; nil if they are
	reloads  uint64
	said     string // code that the log was told last
	saidAt   time.Time
}

// Open reads the files. They must be readable and fit each other, with errors that
// wrap ErrFiles; a certificate that expired is taken, because it is replaced while
// the node runs, and State says so.
func Open(cfg Config) (*Source, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = failpoint.Now
	}
	s := &Source{cfg: cfg, seen: cfg.look(), lastLook: cfg.Now()}
	m, err := cfg.read()
	if err != nil {
		return nil, err
	}
	if err := m.fits(cfg, cfg.Now()); err != nil {
		return nil, err
	}
	s.current.Store(m)
	s.tell()
	return s, nil
}

// Current returns the certificates to use for a connection that begins now.
func (s *Source) Current() *Material {
	s.look()
	return s.current.Load()
}

// Shared returns an authority that two sources have in common, nil if there is none.
func (s *Source) Shared(other *Source) *x509.Certificate {
	for _, mine := range s.current.Load().authorities {
		for _, theirs := range other.current.Load().authorities {
			if mine.Equal(theirs) {
				return mine
			}
		}
	}
	return nil
}

// Run looks at files and clock once a second, and tells the log, until the context ends.
func (s *Source) Run(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.look()
			s.tell()
		}
	}
}

// look reads the files if they were replaced since they were read; whoever comes
// while another looks goes on with what there is.
func (s *Source) look() {
	if !s.looking.TryLock() {
		return
	}
	defer s.looking.Unlock()
	now := s.cfg.Now()
	s.mu.Lock()
	// A clock that was set back must not end the looking.
	due := now.Sub(s.lastLook) >= lookInterval || now.Before(s.lastLook)
	seen, failed := s.seen, s.failure != nil
	if due {
		s.lastLook = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	// What failed is tried again although it looks the same: its time may have come.
	if is := s.cfg.look(); is != seen || failed {
		s.replace(is, now)
	}
}

// replace takes the files into use, or notes why it does not.
func (s *Source) replace(seen string, now time.Time) {
	m, err := s.cfg.read()
	if err == nil {
		err = m.fits(s.cfg, now)
	}
	if err == nil {
		err = s.better(m, now)
	}
	s.mu.Lock()
	s.seen, s.failure = seen, err
	if err == nil {
		s.reloads++
		s.current.Store(m)
		s.server.Store(nil)
	}
	s.mu.Unlock()
	if err == nil {
		s.cfg.Logger.Info("certificates were replaced", "port", s.cfg.Port, "file", s.cfg.Cert,
			"serial", fmt.Sprintf("%x", m.chain[0].SerialNumber), "notAfter", stamp(m.chain[0].NotAfter))
	}
}

// better keeps a certificate that is valid from being replaced by one that is not.
func (s *Source) better(m *Material, now time.Time) error {
	usable := func(code string) bool { return code == codeFine || code == codeSoon }
	code, detail := m.validity(s.cfg, now)
	if old, _ := s.current.Load().validity(s.cfg, now); usable(code) || !usable(old) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrFiles, detail)
}

// state is what people are to know: the certificates that are in use first.
func (s *Source) state() (code, detail string) {
	code, detail = s.current.Load().validity(s.cfg, s.cfg.Now())
	s.mu.Lock()
	failure := s.failure
	s.mu.Unlock()
	if failure != nil && code != codeExpired && code != codeEarly {
		return codeNotReplaced, fmt.Sprintf("the files can not be used, those of before still are: %v", failure)
	}
	return code, detail
}

// State tells whether connections can be made with the certificates, and what
// people are to know about them. Files that can not be used leave it well while
// those of before are valid, and are in the detail.
func (s *Source) State() (detail string, ok bool) {
	code, detail := s.state()
	return code + ": " + detail, code != codeExpired && code != codeEarly
}

// Port is how the port is called.
func (s *Source) Port() string { return s.cfg.Port }

// tell writes to the log what is wrong or soon will be, once and then seldom.
func (s *Source) tell() {
	code, detail := s.state()
	repeat := repeatBad
	if code == codeSoon {
		repeat = repeatSoon
	}
	now := s.cfg.Now()
	s.mu.Lock()
	was := s.said
	due := code != was || code != codeFine && now.Sub(s.saidAt) >= repeat
	if due {
		s.said, s.saidAt = code, now
	}
	s.mu.Unlock()
	switch {
	case !due:
	case code == codeExpired || code == codeEarly:
		s.cfg.Logger.Error("certificates are not valid", "port", s.cfg.Port, "state", code, "reason", detail)
	case code != codeFine:
		s.cfg.Logger.Warn("certificates need attention", "port", s.cfg.Port, "state", code, "reason", detail)
	case was != "":
		s.cfg.Logger.Info("certificates are well again", "port", s.cfg.Port, "detail", detail)
	}
}
