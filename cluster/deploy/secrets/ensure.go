package secrets

import (
	"context"
	"io"
	"time"

	core "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Ensure makes those Secrets of a plan that are not there, and tells what it did, a
// line for each. It needs the rights to create Secrets and to get those of the plan.
// Errors wrap [ErrPlan], [ErrMissing], [ErrKEKLost],
// [ErrCertificate], or what Kubernetes said; to
// repeat it is always safe.
func Ensure(ctx context.Context, secrets core.SecretInterface, p Plan, now time.Time, said io.Writer) error {
	if err := p.Check(); err != nil {
		return err
	}
	list, err := p.certificates()
	if err != nil {
		return err
	}
	s := &store{secrets: secrets, said: said, labels: map[string]string{"app.kubernetes.io/name": "keysteward", "app.kubernetes.io/component": "init"}}
	if err := s.requireGiven(ctx, p.Given); err != nil {
		return err
	}
	if p.KEK != "" {
		if err := s.ensureKEK(ctx, p); err != nil {
			return err
		}
	}
	for _, c := range list {
		if err := s.ensureCertificate(ctx, c, now); err != nil {
			return err
		}
	}
	return nil
}
