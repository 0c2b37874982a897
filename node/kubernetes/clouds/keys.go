package clouds

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/seal"
)

// How many keys are made at once. Making one with RSA keeps a core busy for seconds.
const (
	quickKeys = 32
	slowKeys  = 1
)

// keyMaker gives clouds the key of their generation, whatever their clusters do.
type keyMaker struct {
	duty    *Duty
	session Session
	owned   *sync.WaitGroup
	quick   chan struct{}
	slow    chan struct{}

	mu      sync.Mutex
	reasons map[keyWish]reason // of the keys that are being made
}

// keyWish is a key that is to be made.
type keyWish struct {
	project, cloud string
	generation     uint64
}

func wishOf(c *fsmpb.LogicalCloud) keyWish {
	return keyWish{c.GetProject(), c.GetMetadata().GetName(), c.GetGeneration()}
}

func newKeyMaker(d *Duty, s Session, owned *sync.WaitGroup) *keyMaker {
	return &keyMaker{
		duty: d, session: s, owned: owned, reasons: make(map[keyWish]reason),
		quick: make(chan struct{}, quickKeys), slow: make(chan struct{}, slowKeys),
	}
}

// look begins to make the keys that are missing.
func (k *keyMaker) look(ctx context.Context, view *fsm.View) {
	for row := range view.AllOpenCertificates() {
		cloud := view.Cloud(row.GetProject(), row.GetCloud())
		if row.GetRemoving() || cloud.GetKey() != nil || !fsm.IsUp(cloud) {
			continue
		}
		wish := wishOf(cloud)
		k.mu.Lock()
		_, begun := k.reasons[wish]
		if !begun {
			k.reasons[wish] = reason{}
		}
		k.mu.Unlock()
		if !begun {
			k.owned.Go(func() { k.make(ctx, wish) })
		}
	}
}

// reason is why there is no key yet.
func (k *keyMaker) reason(wish keyWish) reason {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reasons[wish]
}

// make tries until the cloud has its key or wants none of this generation any more.
func (k *keyMaker) make(ctx context.Context, wish keyWish) {
	defer func() {
		k.mu.Lock()
		delete(k.reasons, wish)
		k.mu.Unlock()
	}()
	for failures := 1; ctx.Err() == nil; failures++ {
		cloud := k.session.View().Cloud(wish.project, wish.cloud)
		if !fsm.IsUp(cloud) || wishOf(cloud) != wish || cloud.GetKey() != nil {
			return
		}
		err := k.makeOne(ctx, cloud)
		if err == nil || errors.Is(err, fsm.Refused(fsm.StaleGeneration)) || errors.Is(err, fsm.Refused(fsm.Exists)) {
			continue
		}
		if ctx.Err() == nil {
			k.duty.log.Warn("no key for a logical cloud", "cloud", wish.project+"/"+wish.cloud, "generation", wish.generation, "error", err)
		}
		k.mu.Lock()
		k.reasons[wish] = explain(err)
		k.mu.Unlock()
		sleep(ctx, k.duty.cfg.pauseAfter(failures), nil)
	}
}

func (k *keyMaker) makeOne(ctx context.Context, cloud *fsmpb.LogicalCloud) error {
	algorithm, err := certificate.ParseAlgorithm(cloud.GetAlgorithm())
	if err != nil {
		return waitFor(CodeFailed, "%v", err)
	}
	slots := k.quick
	if algorithm == certificate.RSA4096 {
		slots = k.slow
	}
	release, err := take(ctx, slots)
	if err != nil {
		return err
	}
	key, err := certificate.GenerateKey(algorithm)
	if err != nil {
		release()
		return fmt.Errorf("make a key: %w", err)
	}
	if algorithm != certificate.RSA4096 {
		defer release()
	} else {
		release() // the next one may begin while this one is proposed
	}
	defer key.Zero()
	return k.install(ctx, cloud, key)
}

// install proposes the key together with the first request of every reference.
func (k *keyMaker) install(ctx context.Context, cloud *fsmpb.LogicalCloud, key certificate.Key) error {
	view := k.session.View()
	var rows []*fsmpb.Certificate
	for row := range view.Certificates(cloud.GetProject(), cloud.GetMetadata().GetName()) {
		if row.GetGeneration() == cloud.GetGeneration() {
			rows = append(rows, row)
		}
	}
	command, err := installation(view, cloud, key, rows)
	if err != nil {
		return err
	}
	if failpoint.Enabled {
		failpoint.Reach(PointKeyMade)
	}
	plain := key.PKCS8()
	defer clear(plain)
	_, err = seal.ProposeSealed(ctx, k.duty.cfg.Secrets.vault, k.session, func(ring *seal.Keyring) (*fsmpb.Command, error) {
		err := sealKey(ring, command, plain)
		return &fsmpb.Command{Caller: dutyCaller(), Body: &fsmpb.Command_InstallCloudKey{InstallCloudKey: command}}, err
	})
	if err != nil {
		return fmt.Errorf("install the key of logical cloud %s/%s: %w", command.GetProject(), command.GetCloud(), err)
	}
	return nil
}

// installation is the command that brings a key, without its ciphertext, and the first
// requests of these rows.
func installation(view *fsm.View, cloud *fsmpb.LogicalCloud, key certificate.Key, rows []*fsmpb.Certificate) (*fsmpb.InstallCloudKey, error) {
	who := certificate.Owner{
		ClusterID: view.Meta().GetClusterId(), Project: cloud.GetProject(), Cloud: cloud.GetMetadata().GetName(),
		Generation: cloud.GetGeneration(),
	}
	name := who.CommonName(cloud.GetUser())
	request, err := certificate.Request(key, name)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	command := &fsmpb.InstallCloudKey{
		Project: who.Project, Cloud: who.Cloud, Generation: who.Generation,
		Key: &fsmpb.CloudKey{PublicKey: key.SPKI(), Request: request, CommonName: name},
	}
	for _, row := range rows[:min(len(rows), maxObservations)] {
		command.Requests = append(command.Requests, nextRequest(view, row))
	}
	return command, nil
}

func sealKey(ring *seal.Keyring, command *fsmpb.InstallCloudKey, plain []byte) (err error) {
	id := seal.CloudKeyID(command.GetProject(), command.GetCloud(), command.GetGeneration())
	command.Key.Sealed, err = ring.Seal(seal.KindCloudKey, id, plain)
	return err //nolint:wrapcheck // names what it is
}

// nextRequest names the request of the next round of a row. Nobody can guess the name.
func nextRequest(view *fsm.View, row *fsmpb.Certificate) *fsmpb.CertificateRequest {
	var random [8]byte
	_, _ = rand.Read(random[:]) // which never fails
	round := row.GetRound() + 1
	return &fsmpb.CertificateRequest{
		Project: row.GetProject(), Cloud: row.GetCloud(), Reference: row.GetReference(),
		Generation: row.GetGeneration(), Round: round, Name: owner(view, row).RequestName(round, random),
	}
}
