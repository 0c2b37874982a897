// Command image puts built binaries into container images, without a registry, a
// daemon or root: for each architecture a docker archive, which `ctr images import`,
// `docker load` and `podman load` read, and one OCI image layout with all of them.
//
// An image has one layer on nothing: the binary, the public certificate authorities of
// the machine that builds, and the few files and folders that a process expects. There
// is no shell in it. The same input makes the same bytes.
package main
