// Package kubefile reads and changes the kubeconfig files on the disk of a person who
// uses kubectl.
//
// What it writes holds private keys: files are of mode 0600 and appear whole, by a
// rename, or not at all. What others have put into a file stays there ([Merge]), and
// kubectl's own lock keeps kubectl and this package from writing at the same time.
package kubefile
