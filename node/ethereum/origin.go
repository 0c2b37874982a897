package ethereum

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/tracing"
)

// paidFor is what a step did for one deposit.
type paidFor struct {
	pubkey  []byte
	attempt *fsmpb.Attempt
}

// attribute tells for which requests a step was done, as far as this leader heard them: the
// log has a line for each request, and the trace of each has a span for every deposit.
func (p *pass) attribute(ctx context.Context, step string, kind trace.SpanKind, began time.Time, list []paidFor) {
	type share struct {
		pod      string
		deposits int
	}
	shares, order := make(map[string]*share), []string(nil)
	view := p.session.View()
	for _, f := range list {
		pod := view.Key(f.pubkey).GetReservedBy()
		if pod == "" {
			continue
		}
		origin := p.duty.cfg.Origins.Of(tracing.Pod(pod))
		if origin.RequestID == "" {
			continue
		}
		if shares[origin.RequestID] == nil {
			shares[origin.RequestID] = &share{pod: pod}
			order = append(order, origin.RequestID)
		}
		shares[origin.RequestID].deposits++
		_, span := tracing.Continue(origin.Context(ctx), p.duty.cfg.Tracer, step, trace.WithTimestamp(began), trace.WithSpanKind(kind))
		if !span.IsRecording() {
			continue
		}
		span.SetAttributes(
			attribute.String("keysteward.request_id", origin.RequestID), attribute.String("keysteward.pubkey", fmt.Sprintf("0x%x", f.pubkey)),
			attribute.Int64("keysteward.nonce", int64(f.attempt.GetNonce())), //nolint:gosec // nonces fit
			attribute.String("keysteward.transaction", fmt.Sprintf("0x%x", f.attempt.GetTxHash())),
		)
		span.End()
	}
	for _, id := range order {
		p.duty.log.Info(step+" for a request", //nolint:sloglint // the steps are constants
			"request_id", id, "pod", shares[id].pod, "deposits", shares[id].deposits)
	}
}
