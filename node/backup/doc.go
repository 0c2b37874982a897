// Package backup is the file that a backup of a cluster lies in: the stream of a
// snapshot of the state, behind a manifest that people can read, authenticated by a
// key that only a cluster with the same keyring has.
//
// The stream holds no secret in the clear: what is secret in the state is ciphertext.
// It is not encrypted once more. It is authenticated, because whoever could alter it
// could say that nobody holds a key, and a key that is given out twice signs twice.
//
// A file is
//
//	"keysteward backup 1\n"
//	length (4 bytes, big endian) and manifest (JSON), tag (32 bytes)
//	chunks: length (4 bytes), up to 256 KiB of the stream, tag
//	end: 0x80000000 and length (4 bytes), trailer (JSON), tag
//
// A tag is HMAC-SHA256 over the tag before it (32 zero bytes at first), the four bytes
// of the length, and what has that length; the first one covers the first line too. So
// nothing can be altered, moved, left out or taken from another file, and a file that
// was cut off is noticed as one that was cut off. The key is one for each file, derived
// from the cluster's (package seal) and the random ID in the manifest.
//
// The trailer has the SHA-256 of the stream, so that a file that was damaged on its way
// is noticed without any key: [NewReader] with a nil key checks that, and all but the
// tags. Who only wants to alter a file can make that right; the tags can not be.
//
// The client uses this package offline, so it brings nothing of ours along.
package backup
