// Package cli is the keysteward command for people, scripts and init containers:
// everything but the server, which main adds.
//
// Every flag is an environment variable as well (BindEnv). Results go to stdout;
// errors, in one line that begins with "keysteward:", and progress go to stderr.
// Exit codes are for scripts: see ExitOK and its neighbours. Secrets come from
// files, never from the command line or the environment, where other processes and
// crash reports would see them.
package cli
