package main

// recoveredMeans is what has to be done after a recovery.
const recoveredMeans = `So the cluster goes on as after the restore of a backup that was made at that moment: all keys
rest, tokens are suspended (those of --token-hashes and certificates work), nothing is deposited
and nothing handed out, until you have looked around and confirm it. Once all nodes run:
  keysteward restore status                          # what is missing
  keysteward tokens list; keysteward tokens confirm ID…
  keysteward restore confirm --validators-stopped    # your word that no validator runs with a key
                                                     # of this cluster but those of 'assignments'
`
