package local

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/keysteward/keysteward/client"
)

// defaultNamespace is that of the example pods.
const defaultNamespace = "default"

// client runs one of our own client commands. It prints what that prints if it is
// shown, and if it fails.
func (l *launcher) client(ctx context.Context, token string, shown bool, name string, args ...string) error {
	lines := l.console.lines()
	var quiet bytes.Buffer
	var err error
	if shown {
		err = runCommand(ctx, l.spawner, l.binary, l.site.clientArgs(token, name, args...), lines, lines)
	} else if err = runCommand(ctx, l.spawner, l.binary, l.site.clientArgs(token, name, args...), nil, &quiet); err != nil {
		_, _ = lines.Write(quiet.Bytes()) // its errors; secrets go to stdout, if anywhere
	}
	lines.flush()
	return err
}

// writeClusterFile says what runs where, by the IDs that the cluster knows.
func (l *launcher) writeClusterFile(ctx context.Context) error {
	cluster, err := awaitMembers(ctx, l.site)
	if err != nil {
		return err
	}
	file := &ClusterFile{Chain: l.site.chain, AdminTokenFile: l.site.tokens.Admin, MnemonicFile: l.site.mnemonic(), CAFile: l.site.tls.ca()}
	for i := range l.site.ports.API {
		file.Nodes = append(file.Nodes, ClusterNode{
			ID: member(cluster, l.site, i).ID, API: l.site.apiURL(i), Raft: l.site.address(i, l.site.ports.Raft[i]),
		})
	}
	l.mu.Lock()
	l.written = file
	l.mu.Unlock()
	return l.rewriteClusterFile()
}

// rewriteClusterFile brings the process IDs up to date, once the file was written.
func (l *launcher) rewriteClusterFile() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written == nil {
		return nil
	}
	for i := range l.written.Nodes {
		l.written.Nodes[i].PID = l.nodes.process(i).pid()
	}
	return l.written.write(l.folder.path)
}

// firstFree returns the number of the first example pod that has no folder, holds no
// keys and waits for none: a command that asks for its keys works.
func (l *launcher) firstFree(ctx context.Context) (int, error) {
	c, err := l.site.newClient(l.site.tokens.Viewer, l.site.apiURLs()...)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for i := 0; ; i++ {
		pod, out := l.site.example(i)
		if exists(out) {
			continue
		}
		_, err := c.Allocation(ctx, defaultNamespace, pod)
		if client.IsType(err, client.TypeNotFound) {
			return i, nil
		}
		if err != nil {
			return 0, fmt.Errorf("look for a pod without keys: %w", err)
		}
	}
}

// show prints the table of assignments and what runs where.
func (l *launcher) show(ctx context.Context) error {
	if l.options.Examples > 0 {
		l.console.printf("\n")
		if err := l.client(ctx, l.site.tokens.Viewer, true, "assignments", "--consistency", "linearizable"); err != nil {
			return fmt.Errorf("table of assignments: %w", err)
		}
	}
	if l.options.Once {
		return nil
	}
	cluster, err := awaitMembers(ctx, l.site)
	if err != nil {
		return err
	}
	next, err := l.firstFree(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	s := summary{
		ClusterFile: *l.written, Leader: cluster.Leader, Binary: l.binary, Launcher: os.Getpid(),
		Dir: l.folder.path, OperatorTokenFile: l.site.tokens.Operator, Next: next,
	}
	l.mu.Unlock()
	l.console.printf("%s", s)
	return nil
}
