package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/keysteward/keysteward/node"
)

// figure is one line of the result.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	P50ms float64 `json:"p50Ms,omitempty"`
	P99ms float64 `json:"p99Ms,omitempty"`
	Runs  int     `json:"runs,omitempty"`
	// OfEtcd is the value as a multiple of etcd's, where it was measured in turns with it.
	OfEtcd float64 `json:"ofEtcd,omitempty"`
}

type options struct {
	bin       string
	duration  time.Duration
	failovers int
	stock     int
	imported  int

	only       string
	tool       string
	rounds     int
	keys       int
	state      string
	markdown   bool
	heartbeat  time.Duration
	kubernetes string
	turns      int
	clouds     int
	pods       int
	holders    int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder with keysteward and keysteward-local")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "of each load")
	flag.IntVar(&o.failovers, "failovers", 9, "how often the leader is killed")
	flag.IntVar(&o.stock, "stock", 500, "deposited keys in the pool before measuring")
	flag.IntVar(&o.imported, "imported", 1000, "keystores that are imported")
	flag.StringVar(&o.only, "only", "", "measure only these, separated by commas: "+sectionNames())
	flag.StringVar(&o.kubernetes, "kubernetes", "scripts/kubernetes", "script that starts a Kubernetes")
	flag.StringVar(&o.tool, "tool", "scripts/tool", "script that builds etcd and its load generator")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each load beside etcd is run, in turns")
	flag.DurationVar(&o.heartbeat, "heartbeat-timeout", node.DefaultHeartbeatTimeout, "of nodes without their API: longer on a machine that is busy with other things")
	flag.BoolVar(&o.markdown, "markdown", false, "print the figures as README has them")
	flag.IntVar(&o.keys, "keys", 1_000_000, "keys of the large state: nine tenths belong to pods of 100")
	flag.StringVar(&o.state, "state", "", "file to keep the large state in, and to take it from if it is there: making it takes minutes")
	flag.IntVar(&o.turns, "turns", 20, "certificates of one cloud, in turns with a bare program's")
	flag.IntVar(&o.clouds, "clouds", 200, "clouds that are instantiated at once")
	flag.IntVar(&o.pods, "pods", 5000, "pods that are followed")
	flag.IntVar(&o.holders, "holders", 300, "pods that hold a key and are deleted")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if args := flag.Args(); len(args) > 0 && args[0] == raftMemberArg {
		err = runMember(ctx, args[1:])
	} else if len(args) > 0 && args[0] == stewardMemberArg {
		err = runSteward(ctx, args[1:])
	} else {
		err = run(ctx, o, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "keysteward-bench-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, dir: dir}
	defer b.stop()
	for _, s := range chosen {
		say(s.what(o))
		if err := s.measure(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if o.markdown {
		printMarkdown(out, b.figures)
	} else {
		printTable(out, b.figures)
	}
	return writeJSON(b.figures)
}

func printTable(out io.Writer, figures []figure) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "what\tvalue\tunit\tp50 ms\tp99 ms\tof etcd's\t")
	for _, f := range figures {
		_, _ = fmt.Fprintf(w, "%s\t%.2f\t%s\t%s\t%s\t%s\t\n", f.Name, f.Value, f.Unit, optional(f.P50ms), optional(f.P99ms), optional(f.OfEtcd))
	}
	_ = w.Flush()
}

// printMarkdown prints rows of a table in Markdown.
func printMarkdown(out io.Writer, figures []figure) {
	_, _ = fmt.Fprintln(out, "| what | value | 50th / 99th percentile, ms | of etcd's |\n| --- | --- | --- | --- |")
	for _, f := range figures {
		percentiles, compared := "", ""
		if f.P99ms > 0 {
			percentiles = fmt.Sprintf("%.2f / %.2f", f.P50ms, f.P99ms)
		}
		if f.OfEtcd > 0 {
			compared = fmt.Sprintf("%.2f", f.OfEtcd)
		}
		_, _ = fmt.Fprintf(out, "| %s | %s %s | %s | %s |\n", f.Name, rounded(f.Value), f.Unit, percentiles, compared)
	}
}

// rounded leaves as many digits as mean something.
func rounded(v float64) string {
	if v >= 100 { //nolint:mnd // no digits behind the point
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func optional(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}

func writeJSON(figures []figure) error {
	path := os.Getenv("BENCH_JSON")
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(map[string]any{"figures": figures}, "", "  ")
	if err != nil {
		return fmt.Errorf("BENCH_JSON: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil { //nolint:gosec // figures are public
		return fmt.Errorf("BENCH_JSON: %w", err)
	}
	return nil
}
