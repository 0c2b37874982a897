package keystore

import (
	"context"
	"crypto/rand"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Key is a secret key and its EIP-2334 path, which may be empty.
type Key struct {
	Secret *validator.SecretKey
	Path   string

	public validator.PublicKey // of Secret, where it is known already
}

// name returns the public key, which costs a multiplication on the curve unless it
// is known.
func (k Key) name() validator.PublicKey {
	if k.public == (validator.PublicKey{}) {
		return k.Secret.PublicKey()
	}
	return k.public
}

// Options say how keys are encrypted and written. The zero value is usable.
type Options struct {
	// KDF is PBKDF2 if empty.
	KDF KDF
	// Password is drawn at random for each run if it is the zero value.
	Password Password
	// Workers is the number of keystores encrypted at once: GOMAXPROCS if zero, with
	// scrypt at most 4, because each takes 256 MiB.
	Workers int
	// Progress is called after each key with the number done, never concurrently.
	Progress func(done int)
	// Ended are keys that the folder may hold beside those to be written, because it
	// does not matter any more who has them. They stay, since validator clients keep
	// lists of their keystores and fail when one is gone; only Prysm's wallet, which
	// is written as a whole, loses them when it is.
	Ended []validator.PublicKey
	// Revoked are keys that nobody may sign with: if the folder holds them they are
	// taken out of it.
	Revoked []validator.PublicKey
	// Rand is crypto/rand's Reader if nil.
	Rand io.Reader

	params *kdfParams // cheaper ones in tests
	disk   disk       // a failing one in tests
}

// maxScryptWorkers bounds the memory of parallel scrypt at 1 GiB.
const maxScryptWorkers = 4

// complete fills in what the caller left open, the password excepted.
func (o Options) complete() (Options, error) {
	if o.KDF == "" {
		o.KDF = PBKDF2
	}
	if o.params == nil {
		params, err := standardParams(o.KDF)
		if err != nil {
			return Options{}, err
		}
		o.params = &params
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
		if o.KDF == Scrypt {
			o.Workers = min(o.Workers, maxScryptWorkers)
		}
	}
	if o.Progress == nil {
		o.Progress = func(int) {}
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.disk == nil {
		o.disk = realDisk{}
	}
	return o, nil
}

// withPassword draws a password if none was given.
func (o Options) withPassword() (Options, error) {
	if o.Password.given() {
		return o, nil
	}
	var err error
	o.Password, err = RandomPassword(o.Rand)
	return o, err
}

// EncryptAll encrypts keys in parallel, in their order, under one password; if
// Options.Password is the zero value the error is ErrEmptyPassword. It stops at
// the first error and when ctx ends, and waits for what it started.
func EncryptAll(ctx context.Context, keys []Key, options Options) ([]Keystore, error) {
	if !options.Password.given() {
		return nil, ErrEmptyPassword
	}
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	drawn := make([]drawing, len(keys))
	for i := range drawn {
		if drawn[i], err = draw(options.Rand); err != nil {
			return nil, err
		}
	}
	keystores := make([]Keystore, len(keys))
	err = parallel(ctx, len(keys), options, func(i int) error {
		var err error
		keystores[i], err = encrypt(keys[i], options.Password, options.KDF, *options.params, drawn[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	return keystores, nil
}

// parallel does n pieces of work, reports each, and returns the first error.
func parallel(ctx context.Context, n int, options Options, work func(i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(options.Workers)
	var mu sync.Mutex
	done := 0
	for i := range n {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := work(i); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			options.Progress(done)
			return nil
		})
	}
	return group.Wait()
}
