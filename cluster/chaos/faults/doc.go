// Package faults is what can be done to the nodes of a cluster of real processes, and to
// what they need: killed and paused processes, logs that fail or stall, full disks, damaged
// files, lost disks, clocks that are wrong, a chain that is away, certificates that expire,
// networks that are cut.
//
// A [Fault] has a name, happens, and is healed. It knows nothing of other faults: whoever
// injects several at once sees to it that no two are about the same thing of one node, and
// that no more than a minority loses its data.
//
//	Stage.Kill, Pause, LoseDisk      processes, and a node that comes back with an empty disk
//	Stage.LogFails, LogStalls        EIO, a failed fsync, ENOSPC; writes that take seconds
//	Stage.DiskFull                   a disk in memory (MountDisk), filled by a ballast file
//	Stage.Damage                     files of a stopped node; node/DESIGN.md has the table
//	Stage.ClockOff                   the wall clock
//	Stage.CertificateExpires         of a node of a cluster with TLS
//	Stage.ProgramSleeps, Gate        a chain or an API server that is silent or away
//	Blocked, Isolated, Delayed       links: wires, or a network of namespaces (package netns)
//
// Logs and clocks need nodes that were built with the tag failpoints. Full disks and
// networks need Linux and root.
package faults
