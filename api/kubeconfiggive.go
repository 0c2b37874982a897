package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

// How often the same caller is given the same kubeconfig: each time is a command and a
// record, and a loop would drive the other records out.
const disclosuresPerSecond, disclosuresBurst = 1, 300

// giveKubeconfig answers with what is there. Whether the caller may have it is decided
// anew if it waited.
func (s *Server) giveKubeconfig(c *call, wish kubeconfigWish, got kubeconfigState, held bool) (answer, error) {
	if held {
		if err := s.again(c); err != nil {
			return answer{}, err
		}
	}
	if !wish.discloses {
		return s.withoutKey(wish, got)
	}
	return s.discloseKubeconfig(c, wish, got)
}

// discloseKubeconfig has it recorded that the key is about to be given away, and gives
// it. If the cloud changed meanwhile, it looks once more.
func (s *Server) discloseKubeconfig(c *call, wish kubeconfigWish, got kubeconfigState) (answer, error) {
	if _, isSealed := s.vault.Sealed(); isSealed {
		return answer{}, node.ErrSealed // before anything is on record
	}
	if err := s.pacedDisclosure(c, wish, got); err != nil {
		return answer{}, err
	}
	now, err := s.recordKubeconfig(c, wish, got)
	if isStale(err) {
		if _, got, err = s.lookForKubeconfig(c, wish); err != nil {
			return answer{}, err
		}
		if got.pending != nil {
			return stillPending(got.pending), nil
		}
		now, err = s.recordKubeconfig(c, wish, got)
	}
	if err != nil {
		return answer{}, err
	}
	text, err := s.renderKubeconfig(c.ctx(), now)
	return yamlAnswer(text), err
}

// recordKubeconfig returns what was disclosed, as it is after the command: a
// ciphertext may have been sealed anew since it was looked at.
func (s *Server) recordKubeconfig(c *call, wish kubeconfigWish, got kubeconfigState) (kubeconfigState, error) {
	d := &fsmpb.DiscloseKubeconfig{Project: wish.project, Cloud: wish.cloud, Generation: got.cloud.GetGeneration()}
	for _, row := range got.rows {
		d.References = append(d.References, row.GetReference())
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_DiscloseKubeconfig{DiscloseKubeconfig: d}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return kubeconfigState{}, err
	}
	now, err := decideKubeconfig(s.node.View(), wish, failpoint.Now())
	if err != nil || now.pending != nil || now.cloud.GetGeneration() != d.GetGeneration() || len(now.rows) != len(d.GetReferences()) {
		return kubeconfigState{}, fsm.Refused(fsm.StaleGeneration)
	}
	return now, nil
}

// renderKubeconfig opens the key, and clears it once it is written.
func (s *Server) renderKubeconfig(ctx context.Context, got kubeconfigState) ([]byte, error) {
	pkcs8, err := s.cfg.Clouds.CloudKey(ctx, got.cloud)
	if err != nil {
		return nil, fmt.Errorf("key of logical cloud %s/%s: %w", got.cloud.GetProject(), got.cloud.GetMetadata().GetName(), err)
	}
	defer clear(pkcs8)
	key, err := certificate.ParseKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("key of logical cloud %s/%s: %w", got.cloud.GetProject(), got.cloud.GetMetadata().GetName(), err)
	}
	defer key.Zero()
	text := key.PEM()
	defer clear(text)
	yaml, err := kubeconfig.Render(got.cloud.GetUser(), got.cloud.GetNamespace(), got.entries(text))
	if err != nil { // such as a certificate of another key, which must not leave
		return nil, fmt.Errorf("kubeconfig of logical cloud %s/%s: %w", got.cloud.GetProject(), got.cloud.GetMetadata().GetName(), err)
	}
	return yaml, nil
}

// entries are the references with a certificate each; without a key, for a plug-in.
func (got kubeconfigState) entries(key []byte) []kubeconfig.Entry {
	entries := make([]kubeconfig.Entry, len(got.rows))
	for i, row := range got.rows {
		k := got.clusters[i]
		entries[i] = kubeconfig.Entry{
			Reference: row.GetReference(),
			Cluster:   kubeconfig.Public{Server: k.GetServer(), TLSServerName: k.GetTlsServerName(), CA: []byte(k.GetAuthority())},
		}
		if key != nil {
			entries[i].Certificate, entries[i].Key = []byte(row.GetPem()), key
		}
	}
	return entries
}

// withoutKey answers with a kubeconfig that has none in it, or to HEAD.
func (s *Server) withoutKey(wish kubeconfigWish, got kubeconfigState) (answer, error) {
	if !wish.exec {
		return yamlAnswer(nil), nil
	}
	plugin := kubeconfig.Plugin{Project: wish.project, Cloud: wish.cloud}
	if servers := s.servers(); servers != "" {
		plugin.Args = []string{"--server", servers}
	}
	text, err := kubeconfig.RenderExec(got.cloud.GetUser(), got.cloud.GetNamespace(), plugin, got.entries(nil))
	if err != nil {
		return answer{}, fmt.Errorf("kubeconfig of logical cloud %s/%s: %w", wish.project, wish.cloud, err)
	}
	return yamlAnswer(text), nil
}

// yamlAnswer sends the text once, and clears it.
func yamlAnswer(text []byte) answer {
	a := streamed("application/yaml", func(w io.Writer) error {
		defer clear(text)
		_, err := w.Write(text)
		return err //nolint:wrapcheck // the client went away
	})
	a.header = http.Header{"Cache-Control": {"no-store"}}
	return a
}

// pacedDisclosure refuses who asks too often for the same kubeconfig.
func (s *Server) pacedDisclosure(c *call, wish kubeconfigWish, got kubeconfigState) error {
	name := fmt.Sprintf("%s %s/%s/%s %d", c.caller.key(), wish.project, wish.cloud, wish.reference, got.cloud.GetGeneration())
	wait := s.disclosures.take(name, failpoint.Now())
	if wait == 0 {
		return nil
	}
	p := newProblem(tooManyRequests, "%s was given the same kubeconfig too often within a short time", c.caller.Name)
	p.retry = wait
	return s.refuse(c.caller.Remote, "too-many-repeats", p)
}

// servers are where a plug-in finds the cluster: the URLs of all members that told one.
func (s *Server) servers() string {
	var urls []string
	for _, p := range s.node.Status().Peers {
		if p.API != "" {
			urls = append(urls, p.API)
		}
	}
	return strings.Join(urls, ",")
}
