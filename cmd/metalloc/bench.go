package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/metalloc/metalloc/tests/bench"
)

// benchFlags is the command line of bench.
type benchFlags struct {
	bench.Options
	json bool
}

func newBench() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure metalloc and its rivals",
		Long: `Measure a malloc and its free, on a simulated device, with metalloc and with its
rivals, who take turns: figures are medians over rounds.

  mutex         MLX's rule (best fit below min(2n, n + 2 pages), LRU), one mutex
  packed        a cache and a mutex per stream, one shared word that counts
  actor-send    MLX's rule in a plain actor: Send, and a channel for the reply
  actor-future  the same with RequestFuture

ns/pair is wall time ÷ all goroutines' pairs; × mutex is throughput in mutex's;
scales is throughput in that of one goroutine, and how much that is of what a loop
that shares nothing gets from as many, cores at most.
Percentiles are of one pair by one goroutine, from a pass of their own, in which
the clock is read; of a malloc in growth, of a free in here-there, of either in
replay, of ActiveMemory in query and query-behind-miss, of Snapshot in snapshot.

The workloads: pair, one-stream, here-there, query, snapshot, spans-1, spans-16, reset-peak,
growth, behind-miss, query-behind-miss, live, live-random, streams, size, idle-streams, and
trace-sizes:TRACE, replay:TRACE.

Rows marked ! were measured while two goroutines that share nothing got less than
1.9 × as much done as one: the machine was busy with something else.`,
		Example: `  metalloc bench --quick
  metalloc bench --workload 'replay:*' --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown argument %q of bench", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.Quick, "quick", false, "fewer goroutines, shorter rounds, the beginnings of traces: ends within 40 s on 2 cores")
	flags.StringVar(&f.Workload, "workload", "", "only workloads whose name fits one of `PATTERNS`, with commas: pair,query*,replay:*")
	flags.StringVar(&f.Traces, "traces", filepath.Join("tests", "testdata", "traces"), "`FOLDER` of recorded histories (*.pickle.gz); without it the workloads that need one are left out")
	flags.DurationVar(&f.Chunk, "chunk", 0, "how long each is measured at a stretch (default 100ms; with --quick 20ms)")
	flags.IntVar(&f.Rounds, "rounds", 0, "how often (default 9; with --quick 3)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object; nanoseconds")
	return cmd
}

func (f *benchFlags) run(ctx context.Context) error {
	switch {
	case f.Chunk < 0:
		return usagef("invalid argument %q for \"--chunk\" flag: want more than 0", f.Chunk)
	case f.Rounds < 0:
		return usagef("invalid argument \"%d\" for \"--rounds\" flag: want more than 0", f.Rounds)
	}
	noTraces := ""
	if _, err := os.Stat(f.Traces); errors.Is(err, fs.ErrNotExist) {
		if f.Workload == "" {
			fmt.Fprintf(os.Stderr, "metalloc: no traces in %s: trace-sizes and replay are left out\n", f.Traces)
		}
		noTraces, f.Traces = f.Traces, ""
	}
	bar := newBar("bench")
	f.Progress = func(done, total int, next string) {
		if bar.ProgressBar != nil {
			bar.Describe(next)
		}
		bar.update(int64(done), int64(total))
	}
	report, err := bench.Run(ctx, f.Options)
	bar.clear()
	switch {
	case errors.Is(err, bench.ErrNoWorkload) && noTraces != "":
		return usagef("%w; there are no traces in %s", err, noTraces)
	case errors.Is(err, bench.ErrNoWorkload), errors.Is(err, path.ErrBadPattern):
		return usageError{err}
	case err != nil:
		return err
	case f.json:
		return printJSON(report)
	}
	_, err = os.Stdout.WriteString(renderBench(report))
	return err
}
