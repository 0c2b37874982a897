package main

import (
	"log/slog"
	"syscall"
)

// reservedFiles are those that a node needs besides the API's connections: its
// members', up to 1,024, the log, and clients of chain and signer.
const reservedFiles = 1536

// connections is how many connections the API may have: what was asked for, as far
// as the process may open files. If callers took them all, members could not connect.
func (o *serverOptions) connections(log *slog.Logger) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return o.maxConnections
	}
	allowed := allowedConnections(limit.Cur)
	if o.maxConnections <= allowed {
		return o.maxConnections
	}
	log.Warn("the process may open too few files for --max-connections; raise its limit (ulimit -n)",
		"maxConnections", o.maxConnections, "files", limit.Cur, "used", allowed)
	return allowed
}

// allowedConnections leaves half of the files where there are few of them.
func allowedConnections(files uint64) int {
	const enough = 1 << 30
	files = min(files, enough)
	return int(max(16, files/2, files-min(files, reservedFiles)))
}
