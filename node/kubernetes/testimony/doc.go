// Package testimony says what an object of Kubernetes proves about a pod's containers:
// whether they can still run. It decides when keys may move, so every rule is a small
// predicate with a reason, and what is in doubt proves nothing. It asks nobody, has no
// clock, and knows only what is handed to it; DESIGN.md says which facts about Kubernetes
// its rules rest on.
package testimony
