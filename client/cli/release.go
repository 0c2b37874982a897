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

	namespace, pod string
	fence          int64
	confirmStopped bool
}

// unknownFence is the default of --fence: the fence is looked up.
const unknownFence = -1

func (a *app) releaseCommand() *cobra.Command {
	f := &release{}
	cmd := &cobra.Command{
		Use:   "release --pod NAME",
		Short: "take the keys of a pod back",
		Long: `Takes the keys of a pod back. They rest until there is proof that the pod can no
longer sign, and are free to be handed out again only then.

--confirm-stopped is your word for it. A key that signs in two places is slashed:
make sure that the pod's machine is off, or its validator stopped for good.

` + exitHelp,
		Args: arguments(cobra.NoArgs),
		RunE: f.with(a, f.run),
	}
	f.addTo(cmd, defaultTimeout)
	flags := cmd.Flags()
	flags.StringVar(&f.pod, "pod", "", "name of the pod")
	flags.StringVar(&f.namespace, "namespace", "default", "namespace of the pod")
	flags.Int64Var(&f.fence, "fence", unknownFence, "fence of the allocation that is meant; 0 withdraws a request that waits (default: the present one)")
	flags.BoolVar(&f.confirmStopped, "confirm-stopped", false, "the holder is stopped for good; I made sure of it")
	return cmd
}

func (f *release) run(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	if err := requireFlags(cmd, "pod"); err != nil {
		return err
	}
	if f.fence < unknownFence {
		return usagef("--fence %d is negative", f.fence)
	}
	before, err := c.Allocation(ctx, f.namespace, f.pod)
	if err != nil {
		return err
	}
	fence := f.fence
	if fence == unknownFence {
		fence = before.Allocation.Fence // 0 for a pod that only waits
	}
	if err := c.Release(ctx, f.namespace, f.pod, fence, f.confirmStopped); err != nil {
		return err
	}
	if f.quiet {
		return nil
	}
	fmt.Fprintln(cmd.OutOrStdout(), oneLine(f.outcome(ctx, c, fence, before)))
	return nil
}

// outcome tells what the release did. That it was done is certain already.
func (f *release) outcome(ctx context.Context, c *client.Client, fence int64, before wire.PodStatus) string {
	pod := f.namespace + "/" + f.pod
	if fence == 0 {
		return fmt.Sprintf("pod %s no longer waits for keys", pod)
	}
	keys := plural(len(before.Allocation.Keys), "key")
	after, err := c.Allocation(ctx, f.namespace, f.pod)
	switch {
	case client.IsType(err, client.TypeNotFound):
		return fmt.Sprintf("%s of pod %s: back in the pool", keys, pod)
	case err != nil:
		return fmt.Sprintf("%s of pod %s: released; what became of them is not known: %v", keys, pod, err)
	case after.Allocation.State == wire.AllocationStateResting:
		return fmt.Sprintf("%s of pod %s: resting until %s", keys, pod, orElse(after.Allocation.RestsUntil, "there is proof that the pod is stopped"))
	default:
		return fmt.Sprintf("%s of pod %s: released", keys, pod)
	}
}

func orElse(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}
