package seal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
)

// Check is a line of readiness about the key-encryption keys of this node, as they
// were when they were looked at last. One that can not be used does no harm to a
// node that is unsealed, until it starts again: so it is no reason to send callers
// elsewhere, but one to get up for.
func (v *Vault) Check(view *fsm.View) node.Check {
	wraps := make(map[string]bool)
	for _, identity := range Wrapping(view) {
		wraps[identity.ID] = true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	opening, waiting := 0, []string{}
	failing := []string{}
	for i, identity := range v.mine {
		switch {
		case v.away[i] != nil:
			failing = append(failing, v.away[i].Error())
		case wraps[identity.ID]:
			opening++
		case identity.ID != "":
			waiting = append(waiting, identity.ID)
		}
	}
	c := node.Check{Name: "key-encryption-keys", OK: len(failing) == 0}
	c.Detail = fmt.Sprintf("%d of %d open the secrets", opening, len(v.mine))
	if len(failing) > 0 {
		c.Detail += "; can not be used now: " + strings.Join(failing, "; ")
	}
	if len(waiting) > 0 {
		c.Detail += "; not added yet: " + strings.Join(waiting, ", ")
	}
	if opening == 0 && len(wraps) > 0 {
		c.OK = false
		c.Detail += "; this node would be sealed after a restart"
	}
	return c
}

// failing is how many of this node's keys could not be used at the last look.
func (v *Vault) failing() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, err := range v.away {
		if err != nil {
			n++
		}
	}
	return n
}

// Register adds the vault's metrics.
func (v *Vault) Register(r prometheus.Registerer) error {
	err := r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keysteward_key_encryption_keys_failing",
		Help: "Key-encryption keys of this node that could not be used when they were looked at last.",
	}, func() float64 { return float64(v.failing()) }))
	if err != nil {
		return fmt.Errorf("metrics of the vault: %w", err)
	}
	return nil
}

// sayAway logs a key that can not be used while another one, or what was opened
// before, keeps the node unsealed; it returns what was said.
func (v *Vault) sayAway(ctx context.Context, sealed error, before string) string {
	if ctx.Err() != nil || sealed != nil { // which is said already
		return before
	}
	v.mu.Lock()
	err := errors.Join(v.away...)
	v.mu.Unlock()
	now := ""
	if err != nil {
		now = err.Error()
	}
	switch now {
	case before:
	case "":
		v.log.Info("all key-encryption keys of this node can be used again")
	default:
		v.log.Warn("a key-encryption key of this node can not be used now; the node stays unsealed until it starts again", "reason", now)
	}
	return now
}
