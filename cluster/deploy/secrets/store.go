package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
)

// store reads and creates Secrets of one namespace, and does nothing else to them.
type store struct {
	secrets core.SecretInterface
	labels  map[string]string
	said    io.Writer
}

// ErrMissing says that a Secret that somebody else makes is not there.
var ErrMissing = errors.New("the Secret is not there")

// requireGiven fails, before anything is made, if a Secret of somebody else is missing: its
// name may be mistyped, and what is made in its place would not be what he meant.
func (s *store) requireGiven(ctx context.Context, names []string) error {
	var errs []error
	for _, name := range names {
		secret, err := s.get(ctx, name)
		if err == nil && secret == nil {
			err = fmt.Errorf("%w: %s was named to be used, so none is made under that name. Make it, or name none to have one made", ErrMissing, name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// get returns nil for a Secret that is not there.
func (s *store) get(ctx context.Context, name string) (*corev1.Secret, error) {
	secret, err := s.secrets.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // it says so
	}
	if err != nil {
		return nil, fmt.Errorf("look for the Secret %s: %w", name, err)
	}
	return secret, nil
}

// create makes a Secret, or returns the one that somebody else has made meanwhile.
func (s *store) create(ctx context.Context, secret *corev1.Secret, what string) (*corev1.Secret, error) {
	secret.Labels = s.labels
	made, err := s.secrets.Create(ctx, secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = s.secrets.Get(ctx, secret.Name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("look at the Secret %s that somebody else made: %w", secret.Name, err)
		}
		s.say("kept %s: somebody else has made it meanwhile", secret.Name)
		return made, nil
	}
	if err != nil {
		return nil, fmt.Errorf("create the Secret %s: %w", secret.Name, err)
	}
	s.say("made %s: %s", secret.Name, what)
	return made, nil
}

func (s *store) say(format string, args ...any) { fmt.Fprintf(s.said, format+"\n", args...) }
