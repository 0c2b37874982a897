package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// beside are the loads that are measured in turns with etcd's, so that what disturbs
// one disturbs the other.
type beside struct {
	etcd   *etcdCluster
	inside *stewardCluster
	http   *localCluster
	long   time.Duration
}

// besideStock is enough for one key for each of the clients.
const besideStock = 300

var besideClients = []int{1, 16, 64, 256}

// measureBeside compares with etcd: writes, reads, and fail-over.
func measureBeside(ctx context.Context, b *bench) error {
	etcd, err := startEtcd(ctx, filepath.Join(b.dir, "etcd"), b.tool)
	if err != nil {
		return err
	}
	defer etcd.stop()
	inside, err := startSteward(ctx, filepath.Join(b.dir, "inside"), b.heartbeat)
	if err != nil {
		return err
	}
	defer inside.stop()
	leader, err := inside.leader(ctx)
	if err != nil {
		return err
	}
	if _, err := leader.tell(order{Op: "stock", Servers: inside.servers, Keys: besideStock}); err != nil {
		return err
	}
	return b.stocked(ctx, func(c *localCluster) ([]figure, error) {
		x := &beside{etcd: etcd, inside: inside, http: c, long: b.duration}
		figures, err := x.loads(ctx, b.rounds)
		if err != nil {
			return figures, err
		}
		failovers, err := x.failovers(ctx, b.failovers)
		return append(figures, failovers...), err
	})
}

// turn is one load of one of the programs.
type turn func(ctx context.Context, clients int) (figure, error)

func (x *beside) loads(ctx context.Context, rounds int) ([]figure, error) {
	if _, err := x.http.call(ctx, "POST", x.leaderAPI(ctx)+"/v1/allocations", requestFor(readPod, 1), nil); err != nil {
		return nil, err
	}
	kinds := [][]turn{
		{
			func(ctx context.Context, n int) (figure, error) { return x.etcd.puts(ctx, n, x.long) },
			x.ofInside("allocate, release in process", loadWrites),
			x.ofHTTP("allocate, release over HTTP", loadWrites),
		},
		{
			func(ctx context.Context, n int) (figure, error) { return x.etcd.reads(ctx, n, x.long, true) },
			x.ofInside("linearizable read in process", loadLinearizable),
			x.ofHTTP("linearizable read over HTTP", loadLinearizable),
		},
		{
			func(ctx context.Context, n int) (figure, error) { return x.etcd.reads(ctx, n, x.long, false) },
			x.ofInside("stale read in process", loadStale),
			x.ofHTTP("stale read over HTTP", loadStale),
		},
	}
	var all []figure
	for _, turns := range kinds {
		for _, clients := range besideClients {
			say(fmt.Sprintf("  %s in turns", plural(clients, "client")))
			figures, err := inTurns(ctx, turns, clients, rounds)
			all = append(all, figures...)
			if err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// inTurns runs each load so many times, one after the other; a figure is the median of
// its runs, and says how it compares with the first.
func inTurns(ctx context.Context, turns []turn, clients, rounds int) ([]figure, error) {
	runs := make([][]figure, len(turns))
	for range rounds {
		for i, t := range turns {
			f, err := again(ctx, t, clients)
			if err != nil {
				return nil, err
			}
			runs[i] = append(runs[i], f)
		}
	}
	figures := make([]figure, len(turns))
	for i, r := range runs {
		slices.SortFunc(r, func(a, b figure) int { return int(a.Value - b.Value) })
		figures[i] = r[len(r)/2]
		figures[i].OfEtcd = figures[i].Value / figures[0].Value
	}
	return figures, nil
}

// again repeats a load in which leadership was lost, as happens on a machine that does
// other things: it says nothing about speed.
func again(ctx context.Context, t turn, clients int) (figure, error) {
	const most = 3
	for i := 1; ; i++ {
		f, err := t(ctx, clients)
		if err == nil || i == most || ctx.Err() != nil {
			return f, err
		}
		say("  once more: " + err.Error())
		if err := poll(ctx, time.Second, func() bool { return false }); err != nil && ctx.Err() != nil {
			return f, err
		}
	}
}

func (x *beside) ofInside(name, kind string) turn {
	return func(ctx context.Context, n int) (figure, error) { return x.inside.load(ctx, name, kind, n, x.long) }
}

func (x *beside) ofHTTP(name, kind string) turn {
	return func(ctx context.Context, n int) (figure, error) { return x.http.load(ctx, name, kind, n, x.long) }
}

func (x *beside) leaderAPI(ctx context.Context) string {
	leader, err := x.http.leader(ctx)
	if err != nil {
		return ""
	}
	return leader.API
}

// failovers kills both leaders in turns.
func (x *beside) failovers(ctx context.Context, runs int) ([]figure, error) {
	var theirs, ours []time.Duration
	for range runs {
		d, err := x.etcd.failover(ctx)
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, d)
		more, err := x.http.failovers(ctx, 1)
		if err != nil {
			return nil, err
		}
		ours = append(ours, more...)
	}
	return []figure{
		median("etcd: kill -9 of the leader to the next put, median", theirs),
		extreme("etcd: kill -9 of the leader to the next put, slowest", theirs, 1),
		median("kill -9 of the leader to the next allocation, median", ours),
		extreme("kill -9 of the leader to the next allocation, slowest", ours, 1),
	}, nil
}
