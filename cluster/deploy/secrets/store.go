package secrets

import (
	"context"
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
