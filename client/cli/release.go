package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

// release holds the flags of release.
type release struct {
	connection

	namespace, pod, podUID string
	fence                  int64
	confirmStopped         bool
}

func (a *app) releaseCommand() *cobra.Command {
	f := &release{}
	cmd := &cobra.Command{
		Use:   "release --pod NAME",
		Short: "take the keys of a pod back",
		Long: `Takes the keys of a pod back. They rest until there is proof that the pod can no
longer sign, and are free to be handed out again only then. With --pod-uid no other
pod of the same name is touched, and repeating the command does nothing more.

--confirm-stopped is your word for it. A key that signs in two places is slashed:
make sure that the pod's machine is off, or its validator stopped for good. It needs
--pod-uid, the UID of the pod that you made sure of: assignments shows it.

` + exitHelp,
		Args: noArguments,
		RunE: f.with(a, f.run),
	}
	f.addTo(cmd, defaultTimeout)
	flags := cmd.Flags()
	flags.StringVar(&f.pod, "pod", "", "name of the pod")
	flags.StringVar(&f.namespace, "namespace", "default", "namespace of the pod")
	flags.StringVar(&f.podUID, "pod-uid", "", "UID of the pod that is meant (default: whoever has the name at present)")
	flags.Int64Var(&f.fence, flagFence, 0, "fence of the allocation that is meant; 0 withdraws a request that waits (default: the present one)")
	flags.BoolVar(&f.confirmStopped, "confirm-stopped", false, "the holder is stopped for good; I made sure of it")
	return cmd
}

const flagFence = "fence"

func (f *release) check(cmd *cobra.Command) error {
	if err := requireFlags(cmd, "pod"); err != nil {
		return err
	}
	if f.fence < 0 {
		return usagef("--fence %d is negative", f.fence)
	}
	if f.podUID != "" {
		return client.CheckPodUID(f.podUID)
	}
	if f.confirmStopped {
		return usagef("--confirm-stopped needs --pod-uid (or the environment variable %s), the UID of the pod that is stopped: "+
			"`keysteward assignments` shows it. Without it your word would count for whichever pod has the name by now", EnvName("pod-uid"))
	}
	return nil
}

func (f *release) run(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	before, err := c.Allocation(ctx, f.namespace, f.pod)
	nothing := f.podUID != "" && client.IsType(err, client.TypeNotFound)
	if err != nil && !nothing {
		return err
	}
	o := f.meant(before, cmd.Flags().Changed(flagFence))
	if nothing = nothing || o.PodUID != before.Allocation.PodUID && o.PodUID != before.Pending.PodUID; !nothing {
		err = c.Release(ctx, o)
		nothing = f.podUID != "" && client.IsType(err, client.TypeNotFound)
		if err != nil && !nothing {
			return err
		}
	}
	if f.quiet {
		return nil
	}
	said := fmt.Sprintf("nothing to do: UID %s of pod %s/%s holds nothing", f.podUID, f.namespace, f.pod)
	if !nothing {
		said = f.outcome(ctx, c, o, before)
	}
	fmt.Fprintln(cmd.OutOrStdout(), oneLine(said))
	return nil
}

// meant says what is to be released. The UID that was looked up is sent along, so
// that nobody else is hit who takes over the name in between.
func (f *release) meant(before wire.PodStatus, fenceGiven bool) client.ReleaseOptions {
	o := client.ReleaseOptions{
		Namespace: f.namespace, Pod: f.pod, PodUID: f.podUID, Fence: f.fence, ConfirmStopped: f.confirmStopped,
	}
	holder, waiter := before.Allocation.PodUID, before.Pending.PodUID
	withdraws := waiter != "" && (holder == "" || o.PodUID != "" && o.PodUID != holder)
	if fenceGiven {
		withdraws = waiter != "" && f.fence == 0
	} else if !withdraws {
		o.Fence = before.Allocation.Fence
	}
	if o.PodUID == "" {
		o.PodUID = holder
		if withdraws {
			o.PodUID = waiter
		}
	}
	return o
}

// outcome tells what the release did. That it was done is certain already.
func (f *release) outcome(ctx context.Context, c *client.Client, o client.ReleaseOptions, before wire.PodStatus) string {
	pod := fmt.Sprintf("pod %s/%s (UID %s)", o.Namespace, o.Pod, o.PodUID)
	if o.Fence == 0 {
		return pod + " no longer waits for keys"
	}
	keys := plural(len(before.Allocation.Keys), "key")
	after, err := c.Allocation(ctx, o.Namespace, o.Pod)
	switch {
	case client.IsType(err, client.TypeNotFound), err == nil && after.Allocation.PodUID != o.PodUID:
		return fmt.Sprintf("%s of %s: back in the pool", keys, pod)
	case err != nil:
		return fmt.Sprintf("%s of %s: released; what became of them is not known: %v", keys, pod, err)
	case after.Allocation.State == wire.AllocationStateResting:
		return fmt.Sprintf("%s of %s: resting until %s", keys, pod, orElse(after.Allocation.RestsUntil, "there is proof that the pod is stopped"))
	default:
		return fmt.Sprintf("%s of %s: released", keys, pod)
	}
}

func orElse(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}
