package main

// recoveredMeans is what has to be done after a recovery, as long as the state itself
// does not see to it.
const recoveredMeans = `DANGER: this cluster may hand out keys that a pod was given by the lost nodes. Before you start it:
  - stop every validator that has a key of this cluster, or see to it that no pod asks for keys
    (scale what allocates to 0), until all that run are among those of 'keysteward assignments';
  - start it with --deposits off until 'keysteward deposits verify' finds no difference;
  - revoke again the tokens that were revoked lately ('keysteward tokens list').
`
