package tracing

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// traces are spans of one process as OTLP sends them. TracesData is on the wire what
// ExportTraceServiceRequest is.
func traces(spans []sdktrace.ReadOnlySpan) *tracepb.TracesData {
	if len(spans) == 0 {
		return &tracepb.TracesData{}
	}
	resource := &tracepb.ResourceSpans{Resource: &resourcepb.Resource{Attributes: pairs(spans[0].Resource().Attributes())}}
	scopes := make(map[string]*tracepb.ScopeSpans)
	for _, s := range spans {
		scope := s.InstrumentationScope()
		list := scopes[scope.Name]
		if list == nil {
			list = &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: scope.Name, Version: scope.Version}}
			scopes[scope.Name] = list
			resource.ScopeSpans = append(resource.ScopeSpans, list)
		}
		list.Spans = append(list.Spans, encodeSpan(s))
	}
	return &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{resource}}
}

func encodeSpan(s sdktrace.ReadOnlySpan) *tracepb.Span {
	own := s.SpanContext()
	id, span := own.TraceID(), own.SpanID()
	out := &tracepb.Span{
		TraceId: id[:], SpanId: span[:], TraceState: own.TraceState().String(), Flags: flags(own, s.Parent().IsRemote()),
		Name: s.Name(), Kind: kinds[s.SpanKind()], Status: status(s.Status()),
		StartTimeUnixNano: uint64(max(0, s.StartTime().UnixNano())),
		EndTimeUnixNano:   uint64(max(0, s.EndTime().UnixNano())),
		Attributes:        pairs(s.Attributes()), DroppedAttributesCount: count(s.DroppedAttributes()),
		DroppedEventsCount: count(s.DroppedEvents()), DroppedLinksCount: count(s.DroppedLinks()),
	}
	if parent := s.Parent().SpanID(); parent.IsValid() {
		out.ParentSpanId = parent[:]
	}
	for _, e := range s.Events() {
		out.Events = append(out.Events, &tracepb.Span_Event{
			Name: e.Name, Attributes: pairs(e.Attributes), TimeUnixNano: uint64(max(0, e.Time.UnixNano())),
		})
	}
	for _, l := range s.Links() {
		id, span := l.SpanContext.TraceID(), l.SpanContext.SpanID()
		out.Links = append(out.Links, &tracepb.Span_Link{
			TraceId: id[:], SpanId: span[:], Attributes: pairs(l.Attributes), Flags: flags(l.SpanContext, l.SpanContext.IsRemote()),
		})
	}
	return out
}

// flags are those of W3C, and whether the parent is another process's.
func flags(c trace.SpanContext, remote bool) uint32 {
	f := uint32(c.TraceFlags()) | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
	if remote {
		f |= uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
	}
	return f
}

func count(n int) uint32 { return uint32(max(0, n)) } //nolint:gosec // bounded by the limits of a span

var kinds = map[trace.SpanKind]tracepb.Span_SpanKind{
	trace.SpanKindInternal: tracepb.Span_SPAN_KIND_INTERNAL, trace.SpanKindServer: tracepb.Span_SPAN_KIND_SERVER,
	trace.SpanKindClient: tracepb.Span_SPAN_KIND_CLIENT, trace.SpanKindProducer: tracepb.Span_SPAN_KIND_PRODUCER,
	trace.SpanKindConsumer: tracepb.Span_SPAN_KIND_CONSUMER,
}

func status(s sdktrace.Status) *tracepb.Status {
	switch s.Code {
	case codes.Error:
		return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: s.Description}
	case codes.Ok:
		return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}
	case codes.Unset:
	}
	return &tracepb.Status{}
}

func pairs(list []attribute.KeyValue) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, 0, len(list))
	for _, a := range list {
		out = append(out, &commonpb.KeyValue{Key: string(a.Key), Value: encodeValue(a.Value)})
	}
	return out
}

// encodeValue writes lists as text: ours have none.
func encodeValue(v attribute.Value) *commonpb.AnyValue {
	switch v.Type() {
	case attribute.BOOL:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v.AsBool()}}
	case attribute.INT64:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v.AsInt64()}}
	case attribute.FLOAT64:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v.AsFloat64()}}
	default:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v.String()}}
	}
}
