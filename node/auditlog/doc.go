// Package auditlog ships the audit records that a node applies, as JSON lines in
// a file, for a collector of logs to take away.
//
// The records themselves are in the replicated state. The file is a copy that
// may come late and never loses anything while the records are kept: each record
// is in it once, in order, and where some are lacking a line says so. A disk that
// is full, or a folder that went away, stops the copy and nothing else; what was
// missed is written once it is well again.
package auditlog
