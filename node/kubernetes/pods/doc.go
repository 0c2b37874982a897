// Package pods follows the pods of one Kubernetes and tells the replicated state what
// that shows of those that hold keys: where they run, that they are gone, that they have
// provably ended. The [Watcher] runs on every node, so that a new leader has seen with
// its own eyes what happened while nobody led; the [Duty] runs on the leader, and is the
// only one that proposes. What an object proves is decided by package testimony; DESIGN.md
// says what is remembered, for how long, and what happens when Kubernetes is away.
package pods
