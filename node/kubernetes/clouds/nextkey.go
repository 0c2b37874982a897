package clouds

import (
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/seal"
)

// NextKey makes the key of the generation that an action on a cloud begins, and names
// its first requests, so that all of it is decided at once and a certificate comes one
// commit sooner. Which generation that is, is guessed: the state machine leaves out what
// was made for another one. It is nil where the duty makes the key afterwards: if the
// action needs none or a slow one, while another is being made, on a sealed node, and if
// anything goes wrong.
func (s *Secrets) NextKey(project, name string, action fsmpb.ActOnCloud_Action) *fsmpb.InstallCloudKey {
	if failpoint.Enabled && failpoint.Armed(PointKeyMade) {
		return nil // the point is on the duty's way
	}
	view := s.node.View()
	cloud, rows := nextGeneration(view, project, name, action)
	if cloud == nil || !s.making.TryLock() { // those who come together would guess the same
		return nil
	}
	defer s.making.Unlock()
	algorithm, err := certificate.ParseAlgorithm(cloud.GetAlgorithm())
	if err != nil || algorithm == certificate.RSA4096 {
		return nil
	}
	ring, err := s.ring(view)
	if err != nil {
		return nil
	}
	command, err := makeKey(view, ring, algorithm, cloud, rows)
	if err != nil {
		return nil
	}
	return command
}

func makeKey(view *fsm.View, ring *seal.Keyring, algorithm certificate.Algorithm, cloud *fsmpb.LogicalCloud, rows []*fsmpb.Certificate) (*fsmpb.InstallCloudKey, error) {
	key, err := certificate.GenerateKey(algorithm)
	if err != nil {
		return nil, err //nolint:wrapcheck // nobody asks why
	}
	defer key.Zero()
	command, err := installation(view, cloud, key, rows)
	if err != nil {
		return nil, err
	}
	plain := key.PKCS8()
	defer clear(plain)
	return command, sealKey(ring, command, plain)
}

// nextGeneration is what a cloud and its rows will be like as far as its key is
// concerned, nil if the action brings it no generation.
func nextGeneration(view *fsm.View, project, name string, action fsmpb.ActOnCloud_Action) (*fsmpb.LogicalCloud, []*fsmpb.Certificate) {
	now := view.Cloud(project, name)
	var references []string
	switch {
	case now == nil:
		return nil, nil
	case action == fsmpb.ActOnCloud_ACTION_INSTANTIATE && !fsm.IsUp(now):
		for r := range view.ClusterReferences(project, name) {
			references = append(references, r.GetMetadata().GetName())
		}
	case action == fsmpb.ActOnCloud_ACTION_ROTATE_KEY && fsm.IsUp(now):
		references = now.GetPlan().GetReferences()
	}
	if len(references) == 0 {
		return nil, nil
	}
	next := &fsmpb.LogicalCloud{
		Project: project, Metadata: now.GetMetadata(), User: now.GetUser(), Algorithm: now.GetAlgorithm(),
		Generation: fsm.NextGeneration(view.Meta()),
	}
	rows := make([]*fsmpb.Certificate, len(references))
	for i, reference := range references {
		rows[i] = &fsmpb.Certificate{Project: project, Cloud: name, Reference: reference, Generation: next.GetGeneration()}
	}
	return next, rows
}
