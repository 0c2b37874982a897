package tracing

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/trace"
)

// Origin is the request that asked for something.
type Origin struct {
	RequestID string
	// Span is that of the request, invalid where it was not traced.
	Span trace.SpanContext
}

// Context is one in which spans continue the request's trace.
func (o Origin) Context(ctx context.Context) context.Context {
	if !o.Span.IsValid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, o.Span)
}

// Origins are the requests that asked for what a leader still has to do, by the object: [Pod] or
// [Cloud]. They live in the memory of the node that proposed the command, which is the one whose
// duties act on it; the next leader does not know them. The oldest are forgotten first. It is safe
// for concurrent use, and nil knows nothing.
type Origins struct {
	mu    sync.Mutex
	known map[string]Origin
	order []string // a ring of the objects in known
	next  int
}

// mostOrigins bounds what is remembered: some hundred bytes each.
const mostOrigins = 8192

// NewOrigins remembers nothing yet.
func NewOrigins() *Origins { return &Origins{known: make(map[string]Origin)} }

// Note remembers the request that asked for the object last.
func (o *Origins) Note(object string, by Origin) {
	if o == nil || object == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, again := o.known[object]; !again {
		if len(o.order) < mostOrigins {
			o.order = append(o.order, object)
		} else {
			delete(o.known, o.order[o.next])
			o.order[o.next] = object
			o.next = (o.next + 1) % mostOrigins
		}
	}
	o.known[object] = by
}

// Of returns the request that asked for the object, the zero value where it is not known.
func (o *Origins) Of(object string) Origin {
	if o == nil {
		return Origin{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known[object]
}

// Pod names what a pod asked for; name is NAMESPACE/NAME.
func Pod(name string) string { return "pod/" + name }

// Cloud names a logical cloud.
func Cloud(project, name string) string { return "cloud/" + project + "/" + name }
