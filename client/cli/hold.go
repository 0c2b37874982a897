package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/lease"
)

// hold holds the flags of hold.
type hold struct {
	connection

	namespace, pod, podUID string
	memory, health         string
	every, grace           time.Duration
}

func (a *app) holdCommand() *cobra.Command {
	f := &hold{}
	cmd := &cobra.Command{
		Use:   "hold --token-file FILE --memory FILE",
		Short: "keep the lease of a pod's keys, and end its validator before it could run out",
		Long: `Renews the lease of a pod's keys for as long as the pod lives. It is made for a
native sidecar of a validator's pod (an init container with restartPolicy: Always)
that shares its processes (shareProcessNamespace: true) and runs as the same user.

When half of a lease has passed without a renewal, and at once when the cluster says
that the keys are not this pod's any more, all other processes of the pod are killed,
again and again: the cluster will take the end of the lease as proof that this pod
can no longer sign. A restarted sidecar goes on with the deadline that it finds in
--memory, a file on a memory-backed volume that is the pod's own.

Where the servers run without leases (--lease-duration) there is nothing to keep, and
nothing is killed.

It answers on --health: /livez is 200 while something of this pod may sign. The
sidecar's startupProbe asks it, so that the validator begins after the first renewal,
and so does the validator's livenessProbe, so that Kubernetes ends the validator when
this sidecar is gone. /alive is 200 always, for the sidecar's own livenessProbe. A pod
whose keys are lost never signs again: delete it.

` + exitHelp,
		Example: "  keysteward hold --server https://keysteward:8200 --token-file /var/run/secrets/keysteward/token --memory /keys/.lease",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.addTo(cmd, 0)
	f.patient = false // its log tells of every renewal that fails
	flags := cmd.Flags()
	flags.StringVar(&f.pod, "pod", "", "name of the pod (default: the one that a projected token is for)")
	flags.StringVar(&f.namespace, "namespace", "default", "namespace of the pod")
	flags.StringVar(&f.podUID, "pod-uid", "", "UID of the pod (default: that of the projected token)")
	flags.StringVar(&f.memory, "memory", "", "file that remembers the lease's deadline (required)")
	flags.StringVar(&f.health, "health", ":8210", "address on which probes are answered")
	flags.DurationVar(&f.every, "every", 0, "time between two renewals (default: a tenth of the lease)")
	flags.DurationVar(&f.grace, "grace", 10*time.Second, "how long before the deadline processes are asked to end, before they are killed")
	_ = cmd.MarkFlagFilename("memory")
	return cmd
}

// identify takes the pod from the projected token where no flag names it.
func (f *hold) identify(cmd *cobra.Command) error {
	if f.tokenFile != "" && (f.pod == "" || f.podUID == "") {
		token, err := client.ReadToken(f.tokenFile)
		if err != nil {
			return err
		}
		if pod, ok := client.PodOfToken(token); ok && (f.pod == "" || f.pod == pod.Pod) {
			f.pod, f.podUID = pod.Pod, pod.UID
			if !cmd.Flags().Changed("namespace") {
				f.namespace = pod.Namespace
			}
		}
	}
	if f.pod == "" || f.podUID == "" {
		return usagef("which pod? Give --pod and --pod-uid, or a projected service-account token as --token-file")
	}
	if f.memory == "" {
		return usagef("--memory is required: a restarted sidecar would not know when the lease ends")
	}
	if f.every < 0 || f.grace < 0 {
		return usagef("--every %v, --grace %v: not negative", f.every, f.grace)
	}
	return client.CheckPod(f.namespace, f.pod)
}

func (f *hold) run(cmd *cobra.Command, a *app) error {
	if err := f.identify(cmd); err != nil {
		return err
	}
	c, err := f.open(cmd, a.version)
	if err != nil {
		return err
	}
	defer c.Close()
	keeper, err := f.keeper(c, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", f.health)
	if err != nil {
		return fmt.Errorf("--health: %w", err)
	}
	g, ctx := errgroup.WithContext(cmd.Context())
	g.Go(func() error { return keeper.Run(ctx) })
	g.Go(func() error { return serveHealth(ctx, listener, keeper) })
	if err := g.Wait(); err != nil && cmd.Context().Err() == nil {
		return err
	}
	return nil
}

// renewFor bounds one try to renew: the next one is about to begin.
const renewFor = 10 * time.Second

func (f *hold) keeper(c *client.Client, log *slog.Logger) (*lease.Keeper, error) {
	boot, err := lease.BootID()
	if err != nil {
		return nil, err
	}
	processes := lease.Shared{Proc: "/proc", Self: os.Getpid()}
	if err := processes.Check(); err != nil {
		return nil, err
	}
	return lease.New(lease.Config{
		Renew: func(ctx context.Context, begin bool) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(ctx, renewFor)
			defer cancel()
			got, err := c.RenewLease(ctx, f.namespace, f.pod, f.podUID, begin)
			return time.Duration(got.DurationMs) * time.Millisecond, leaseError(err)
		},
		Clock: lease.BootTime, Wall: time.Now, Others: processes.Others,
		Memory: lease.File{Name: f.memory, PodUID: f.podUID, BootID: boot},
		Every:  f.every, Grace: f.grace, Logger: log,
	})
}

// leaseError tells an answer about the keys from all that says nothing about them.
func leaseError(err error) error {
	switch {
	case client.IsType(err, client.TypeNotTheHolder):
		return errors.Join(lease.ErrLost, err)
	case client.IsType(err, client.TypeLeasesOff):
		return errors.Join(lease.ErrOff, err)
	}
	return err
}

// serveHealth answers probes until ctx ends.
func serveHealth(ctx context.Context, l net.Listener, k *lease.Keeper) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		state, left, detail := k.Status()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if !state.MaySign() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "lease %s", state)
		if left > 0 {
			fmt.Fprintf(w, ", %s left to sign", left.Round(time.Second))
		}
		if detail != "" {
			fmt.Fprintf(w, ": %s", oneLine(detail))
		}
		fmt.Fprintln(w)
	})
	mux.HandleFunc("GET /alive", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the sidecar runs") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer probes: %w", err)
	}
	return ctx.Err() //nolint:wrapcheck // the caller's own
}
