// Package upgrade has no code. Its test rolls a cluster of an older version to this
// one under load, with real processes.
//
// The file from names the commit of the older version: the newest one whose data and
// whose members this version must be able to live with. It moves forward when the
// feature level is raised in a release, never to hide that something can not be read.
package upgrade
