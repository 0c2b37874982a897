package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/interchange"
	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// allocation holds the flags of allocate.
type allocation struct {
	connection

	namespace, pod, podUID string
	keys                   int64
	out, layout, kdf       string
	passwordFile, kem      string
	slashingProtection     string
}

var kems = map[string]wire.RecipientKem{"mlkem768x25519": wire.KEMMLKEM768X25519, "x25519": wire.KEMX25519}

func (a *app) allocateCommand() *cobra.Command {
	f := &allocation{}
	cmd := &cobra.Command{
		Use:   "allocate --pod NAME --keys N --out DIR --layout LAYOUT",
		Short: "get the keys of a pod and write them as keystores",
		Long: `Asks for validator keys for a pod, waits while deposits are made, and writes
keystores (EIP-2335) in the layout that a validator client reads: all files or
none. It is made for init containers: it follows the leader, repeats what may be
repeated, and goes on where an earlier run ended. Run again it asks whether the
keys are still the pod's own, and writes only what is missing.

With a projected service-account token of Kubernetes as --token-file the pod need
not be named: the token does.

With --slashing-protection a file (EIP-3076) is written that keeps the validator from
signing what an earlier holder of a key, or this pod before it lost its memory, may
have signed. It is to be imported before the validator starts. In return the keys of
an earlier UID of this pod are to be had as soon as there is proof that it can no
longer sign; without the file they rest for an epoch more.

Without --pod-uid a UID is minted and kept in DIR, so that a repeated command is
the same pod. A pod that holds more keys than --keys gets all that it holds.

` + exitHelp,
		Example: "  keysteward allocate --pod validator-0 --keys 4 --out ./keys --layout lighthouse",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.addTo(cmd, 0)
	flags := cmd.Flags()
	flags.StringVar(&f.pod, "pod", "", "name of the pod (default: the one that a projected token is for)")
	flags.StringVar(&f.namespace, "namespace", "default", "namespace of the pod")
	flags.StringVar(&f.podUID, "pod-uid", "", "UID of the pod (default: one minted and kept under --out)")
	flags.Int64Var(&f.keys, "keys", 0, "how many keys the pod is to hold in all")
	flags.StringVar(&f.out, "out", "", "folder to write to; made if need be")
	flags.StringVar(&f.layout, "layout", "", "validator client that will read the folder: "+strings.Join(layoutNames(), ", "))
	flags.StringVar(&f.kdf, "kdf", string(keystore.PBKDF2), "key derivation of the keystores: pbkdf2 or scrypt (stronger, slower)")
	flags.StringVar(&f.passwordFile, "password-file", "", "file with the password of the keystores (default: a random one)")
	flags.StringVar(&f.slashingProtection, "slashing-protection", "", "file to write for slashing protection (EIP-3076), to be imported before the validator starts")
	flags.StringVar(&f.kem, "kem", "mlkem768x25519", "how secrets travel: mlkem768x25519 or x25519 (HPKE)")
	complete(cmd, "layout", layoutNames()...)
	complete(cmd, "kdf", string(keystore.PBKDF2), string(keystore.Scrypt))
	complete(cmd, "kem", "mlkem768x25519", "x25519")
	_ = cmd.MarkFlagDirname("out")
	_ = cmd.MarkFlagFilename("slashing-protection")
	return cmd
}

func layoutNames() []string {
	var names []string
	for _, layout := range keystore.Layouts() {
		names = append(names, string(layout))
	}
	return names
}

// plan is what the flags mean, once everything was checked that needs no server.
type plan struct {
	layout   keystore.Layout
	kdf      keystore.KDF
	kem      wire.RecipientKem
	password keystore.Password
}

func (f *allocation) plan(cmd *cobra.Command) (plan, error) {
	var p plan
	f.fromToken(cmd)
	if err := requireFlags(cmd, "pod", "keys", "out", "layout"); err != nil {
		return p, err
	}
	if err := client.CheckPod(f.namespace, f.pod); err != nil {
		return p, err
	}
	if f.podUID != "" {
		if err := client.CheckPodUID(f.podUID); err != nil {
			return p, err
		}
	}
	if f.keys < 1 {
		return p, usagef("--keys %d: want at least 1", f.keys)
	}
	var err error
	if p.layout, err = keystore.ParseLayout(f.layout); err != nil {
		return p, usagef("--layout: %w", err)
	}
	if p.kdf, err = keystore.ParseKDF(f.kdf); err != nil {
		return p, usagef("--kdf: %w", err)
	}
	if p.kem = kems[strings.ToLower(f.kem)]; p.kem == 0 {
		return p, usagef("--kem %q: choose one of mlkem768x25519, x25519", f.kem)
	}
	p.password, err = readPassword(f.passwordFile)
	return p, err
}

// fromToken lets a projected token of Kubernetes name the pod where no flag does.
// An unreadable one is told of later.
func (f *allocation) fromToken(cmd *cobra.Command) {
	if f.tokenFile == "" || cmd.Flags().Changed("pod") {
		return
	}
	token, err := client.ReadToken(f.tokenFile)
	if err != nil {
		return
	}
	pod, ok := client.PodOfToken(token)
	if !ok {
		return
	}
	f.pod = pod.Pod
	if !cmd.Flags().Changed("namespace") {
		f.namespace = pod.Namespace
	}
	if f.podUID == "" {
		f.podUID = pod.UID
	}
	_ = cmd.Flags().Set("pod", f.pod) // it was given, in a way
}

// readPassword returns the zero value, which means a random password, for no file.
func readPassword(file string) (keystore.Password, error) {
	if file == "" {
		return keystore.Password{}, nil
	}
	raw, err := readSecretFile(file)
	if err != nil {
		return keystore.Password{}, fmt.Errorf("read --password-file: %w", err)
	}
	defer clear(raw)
	password, err := keystore.NewPassword(raw)
	if err != nil {
		return keystore.Password{}, fmt.Errorf("--password-file %s: %w", file, err)
	}
	return password, nil
}

// run checks all that can be checked before anybody is asked, then always asks: an
// init container that restarts has to learn whether its keys are still its own.
func (f *allocation) run(cmd *cobra.Command, a *app) error {
	p, err := f.plan(cmd)
	if err != nil {
		return err
	}
	defer p.password.Zero()
	c, err := f.open(cmd, a.version)
	if err != nil {
		return err
	}
	defer c.Close()
	has, err := keystore.Check(f.out, p.layout)
	if err != nil {
		return err
	}
	m := a.meter(cmd.ErrOrStderr(), f.quiet)
	defer m.close()
	set, err := f.ask(cmd.Context(), c, has, p.kem, m)
	if err != nil {
		return err
	}
	defer set.Zero()
	if err := f.protect(a, set.Allocation); err != nil {
		return err
	}
	result, err := f.write(cmd.Context(), a, p, set, m)
	if err != nil {
		return err
	}
	m.close()
	if !f.quiet {
		f.report(cmd.OutOrStdout(), set.Allocation, result)
	}
	if result.Kept > 0 {
		f.tellUnlike(cmd, p, set.Allocation.PodUID, m)
	}
	return nil
}

// ask claims the folder and asks for keys. A claim for which nothing was asked is
// taken back.
func (f *allocation) ask(ctx context.Context, c *client.Client, has []validator.PublicKey, kem wire.RecipientKem, m *meter) (*client.KeySet, error) {
	folder, err := claimFolder(f.out, f.namespace, f.pod, f.podUID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := f.limit(ctx)
	defer cancel()
	options := client.AllocateOptions{Namespace: f.namespace, Pod: f.pod, PodUID: folder.podUID, Keys: f.keys, KEM: kem, Has: has, ClusterID: folder.cluster, MinFence: folder.fence, SlashingProtection: f.slashingProtection != ""}
	if m.terminal {
		options.Hold = time.Second // a bar is to move
	}
	set, err := c.AllocateKeys(ctx, options, func(p client.Progress) {
		switch {
		case p.Trouble != nil:
			m.say("trying again: " + p.Trouble.Error())
		case p.Pending != nil:
			m.say(fmt.Sprintf("waiting: %s (%s)", p.Pending.Reason.Detail, p.Pending.Reason.Code))
			m.show("keys ready", p.Pending.Held+p.Pending.Ready, p.Pending.Keys)
		}
	})
	if errors.Is(err, client.ErrRefused) {
		folder.undo()
	}
	if errors.Is(err, client.ErrKeysLost) {
		err = f.mustNotSign(err)
	}
	if err != nil {
		return nil, err
	}
	if err := folder.answered(set.Allocation.ClusterID, set.Allocation.Fence); err != nil {
		set.Zero()
		return nil, err
	}
	return set, nil
}

// protect writes the watermarks before there is a keystore to sign with.
func (f *allocation) protect(a *app, held wire.Allocation) error {
	if f.slashingProtection == "" {
		return nil
	}
	data, err := interchange.Encode(held.SlashingProtection, held.Keys, a.now())
	if err != nil {
		return fmt.Errorf("--slashing-protection: %w", err)
	}
	return interchange.Write(f.slashingProtection, data)
}

func (f *allocation) write(ctx context.Context, a *app, p plan, set *client.KeySet, m *meter) (keystore.Result, error) {
	keys := make([]keystore.Key, len(set.Keys))
	for i, key := range set.Keys {
		keys[i] = keystore.Key{Secret: key.Secret, Path: key.Path}
	}
	result, err := keystore.Write(ctx, f.out, p.layout, keys, keystore.Options{
		KDF: p.kdf, Password: p.password, Rand: a.random, Ended: set.Retired.Ended, Revoked: set.Retired.Revoked,
		Progress: func(done int) { m.show("keystores encrypted", done, len(keys)) },
	})
	if errors.Is(err, keystore.ErrOtherKeys) { // they were lost while keys were asked for
		err = f.mustNotSign(err)
	}
	return result, err
}

// mustNotSign says what to do about keys in the folder that are no longer the pod's.
// To choose another folder would leave a validator signing with them.
func (f *allocation) mustNotSign(err error) error {
	return fmt.Errorf("%w: what is in %s must NOT be signed with any more, since another pod may hold it: "+
		"stop the validator that uses this folder, move the folder away, then run this again", err, f.out)
}

// tellUnlike says in one line what the keystores in the folder do not have of what
// the flags ask for, if anything.
func (f *allocation) tellUnlike(cmd *cobra.Command, p plan, podUID string, m *meter) {
	if !cmd.Flags().Changed("kdf") {
		p.kdf = ""
	}
	kdf, password, err := keystore.Unlike(f.out, p.kdf, p.password)
	what := "key derivation and password"
	switch {
	case err != nil || !kdf && !password:
		return
	case !password:
		what = "key derivation"
	case !kdf:
		what = "password"
	}
	m.say(fmt.Sprintf("%s keeps the %s of the keystores that were there already; to have them made anew, stop the validator, move the folder away, "+
		"and run this again with --pod-uid %s", f.out, what, podUID))
}

// report says in the end what is true now.
func (f *allocation) report(w io.Writer, a wire.Allocation, result keystore.Result) {
	if result.Ended > 0 {
		fmt.Fprintf(w, "%s of validators that are over, left in %s: there is nothing to sign with them\n", plural(result.Ended, "key"), f.out)
	}
	if result.Revoked > 0 {
		fmt.Fprintf(w, "%s removed from %s, because they are retired: a validator that runs with them has to be restarted\n", plural(result.Revoked, "key"), f.out)
	}
	held := fmt.Sprintf("pod %s/%s holds %s, fence %d", a.Namespace, a.Pod, plural(len(a.Keys), "key"), a.Fence)
	if int64(len(a.Keys)) > f.keys {
		held += fmt.Sprintf(" (asked for %d: a pod gets all that it holds)", f.keys)
	}
	if result.Written+result.Revoked == 0 {
		fmt.Fprintf(w, "%s; %s is already right\n", held, f.out)
		return
	}
	fmt.Fprintf(w, "%s; %s written to %s for %s", held, plural(result.Written, "keystore"), f.out, f.layout)
	if result.Kept > 0 {
		fmt.Fprintf(w, ", %d kept", result.Kept)
	}
	fmt.Fprintln(w)
}
