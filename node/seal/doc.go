// Package seal keeps secrets at rest. Everything secret that the cluster
// replicates was encrypted before it was proposed, so the log, the snapshots
// and every backup hold ciphertext only.
//
// Three layers of AES-256-GCM, each under the next:
//
//	record          a secret of the state, under a data key; the cluster ID, the
//	                kind and the ID of the record are additional data, so that
//	                a ciphertext can not be put in another's place
//	data keys       numbered by term, under the root key
//	root key        wrapped by every key-encryption key that the cluster accepts
//
// The wrapped root key and the sealed data keys are the keyring, one record of
// the replicated state. A node whose key-encryption key opens it is unsealed.
// The connections between members do not depend on it, so a sealed node still
// votes and replicates.
package seal
