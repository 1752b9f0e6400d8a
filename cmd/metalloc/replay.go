package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// replayFlags is the command line of replay.
type replayFlags struct {
	json        bool
	device      string
	pageSize    size
	handleSize  size
	segments    bool
	memory      size
	memoryLimit size
	cacheLimit  size
	policy      string
	concurrent  bool
	window      int
	lag         time.Duration
	timeline    string
}

func newReplay() *cobra.Command {
	f := replayFlags{pageSize: size{positive: true}, handleSize: size{positive: true}, memory: size{positive: true}}
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Play a recorded PyTorch memory history through metalloc",
		Long: `Play the allocation history in FILE, a snapshot that PyTorch's
torch.cuda.memory._dump_snapshot() wrote (plain or gzipped), through metalloc,
and show what was requested, active, cached and reserved, per stream and in all.
It is played twice, to tell mallocs that miss from those that the cache serves,
but once with --concurrent, --lag or --timeline. Device calls of sim take no time
but what they are modelled to take, which is told apart.

If peaks.jsonl beside FILE knows what PyTorch's own allocators kept for the same
work, that is shown too. What their device calls would take is modelled from how
many there were, at the same costs as sim's: the default allocator's as
cudaMallocs of the mean segment, expandable segments as pieces of 20 MiB.
cudaMallocAsync doesn't tell.

--timeline writes CSV: time_ns (event, where the file has no times), requested,
active, cache, slack, reserved; fewer than 2,000 rows, which have every peak. Figures
are then read after each event, so the times that are shown are no good.

A SIZE is bytes: 12GiB (2^30), 1.5G (10^9), 4096.`,
		Example: `  metalloc replay tests/testdata/traces/serve-4streams.pickle.gz
  metalloc replay --device sim --memory 24GiB --memory-limit 20GiB --json snapshot.pickle`,
		Args: oneFile("replay"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.device, "device", "host", "`KIND` of device: host, or sim, a simulated GPU")
	flags.Var(&f.memory, "memory", "the device's memory (default: all the host has; sim 80GiB)")
	flags.Var(&f.pageSize, "page-size", "what sim maps at a time, a power of two (default 2MiB)")
	flags.Var(&f.handleSize, "handle-size", "the most that sim maps as one piece, whole pages (default 64MiB)")
	flags.BoolVar(&f.segments, "segments", false, "the device maps no pages: it gives whole segments, as plain cudaMalloc and Metal do")
	flags.Var(&f.memoryLimit, "memory-limit", "bounds what is reserved (default: 1.5 × the device's working set, at most 0.95 × its memory)")
	flags.Var(&f.cacheLimit, "cache-limit", "bounds what is kept for reuse (default: the memory limit)")
	flags.StringVar(&f.policy, "policy", "", "`POLICY` above the memory limit: guide goes on, refuse fails (default: refuse with --memory-limit, otherwise guide)")
	flags.BoolVar(&f.concurrent, "concurrent", false, "a goroutine for each stream of the file, in the order of each")
	flags.IntVar(&f.window, "window", replay.DefaultWindow, "with --concurrent: goroutines stay within `N` events of the file's order (0: keep to it)")
	flags.DurationVar(&f.lag, "lag", 0, "freed pages can leave a stream only that `TIME` later (10ms), on the file's clock (0: at once)")
	flags.StringVar(&f.timeline, "timeline", "", "write memory over time to `FILE.csv`")
	flags.BoolVar(&f.json, "json", false, "print one JSON object; bytes and nanoseconds")
	return cmd
}

func oneFile(use string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("want one FILE to %s, got %d", use, len(args))
		}
		return nil
	}
}

func (f *replayFlags) run(ctx context.Context, path string) error {
	result, err := f.replay(ctx, path)
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(result)
	}
	_, err = os.Stdout.Write(render(result))
	return err
}

func (f *replayFlags) replay(ctx context.Context, path string) (result *replay.Result, err error) {
	opts, err := f.options()
	if err != nil {
		return nil, err
	}
	how, err := f.how()
	if err != nil {
		return nil, err
	}
	dev, err := f.open(how.Clock)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := dev.Close(); err == nil {
			err = closeErr
		}
	}()
	history, err := readHistory(path)
	if err != nil {
		return nil, err
	}
	pytorch, err := pytorchPeaks(path)
	if err != nil {
		return nil, err
	}
	result, err = how.Run(ctx, dev, history, opts...)
	if err != nil {
		return nil, err
	}
	result.Trace, result.PyTorch = torch.TraceName(path), pytorch
	if how.Timeline != nil {
		if err := writeTimeline(f.timeline, how.Timeline); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// options are the runtime's.
func (f *replayFlags) options() ([]allocator.Option, error) {
	var opts []allocator.Option
	if f.memoryLimit.set {
		opts = append(opts, allocator.WithMemoryLimit(f.memoryLimit.bytes))
	}
	if f.cacheLimit.set {
		opts = append(opts, allocator.WithCacheLimit(f.cacheLimit.bytes))
	}
	switch {
	case f.policy == "refuse", f.policy == "" && f.memoryLimit.set:
		opts = append(opts, allocator.WithPolicy(allocator.Refuse))
	case f.policy != "" && f.policy != "guide":
		return nil, usagef("invalid argument %q for \"--policy\" flag: want guide or refuse", f.policy)
	}
	return opts, nil
}

// how the history is to be played.
func (f *replayFlags) how() (replay.Config, error) {
	switch {
	case f.window < 0:
		return replay.Config{}, usagef("invalid argument \"%d\" for \"--window\" flag: want 0 or more events", f.window)
	case f.window != replay.DefaultWindow && !f.concurrent:
		return replay.Config{}, usagef("--window goes with --concurrent")
	case f.lag < 0:
		return replay.Config{}, usagef("invalid argument %q for \"--lag\" flag: want 0 or more", f.lag)
	}
	how := replay.Config{
		Concurrent: f.concurrent, Window: f.window, Lag: f.lag, Clock: new(metal.VirtualClock),
		Apart: !f.concurrent && f.lag == 0 && f.timeline == "",
	}
	if f.timeline != "" {
		how.Timeline = new(replay.Timeline)
	}
	return how, nil
}

// printJSON writes nothing if v can't be written whole.
func printJSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := os.Stdout.Write(b.Bytes())
	return err
}
