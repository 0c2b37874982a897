// Package tracing tells which request made what happen: spans (OpenTelemetry), sent by OTLP over
// HTTP where an operator asks for that, and the origins by which a duty finds the request for which
// it acts.
//
// It is a leaf that brings nothing of ours along. Whoever makes spans takes a trace.Tracer of the
// OpenTelemetry API, nil for none, and [Continue]: without a tracer that costs a comparison. Spans hold
// route templates, kinds of commands, names of pods and clouds, public keys and request IDs, and never
// a body, a token, a query or a secret.
//
// The exporter is our own: the official one brings a gateway for gRPC and a second generation of the
// OpenAPI libraries along, for what is one POST of a protobuf message.
package tracing
