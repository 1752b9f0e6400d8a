package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// replayFlags is the command line of replay.
type replayFlags struct {
	json        bool
	device      string
	pageSize    size
	memory      size
	memoryLimit size
	cacheLimit  size
	policy      string
	concurrent  bool
	window      int
	lag         time.Duration
}

func newReplay() *cobra.Command {
	f := replayFlags{pageSize: size{positive: true}, memory: size{positive: true}}
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Play a recorded PyTorch memory history through metalloc",
		Long: `Play the allocation history in FILE, a snapshot that PyTorch's
torch.cuda.memory._dump_snapshot() wrote (plain or gzipped), through metalloc,
and show what was requested, active, cached and reserved, per stream and in all.
It is played twice, to tell mallocs that miss from those that the cache serves,
but once with --concurrent or --lag. Device calls of sim take no time but what
they are modelled to take, which is told apart.

If peaks.jsonl beside FILE knows what PyTorch's own allocators kept for the same
work, that is shown too.

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
	flags.Var(&f.memoryLimit, "memory-limit", "bounds what is reserved (default: 1.5 × the device's working set, at most 0.95 × its memory)")
	flags.Var(&f.cacheLimit, "cache-limit", "bounds what is kept for reuse (default: the memory limit)")
	flags.StringVar(&f.policy, "policy", "", "`POLICY` above the memory limit: guide goes on, refuse fails (default: refuse with --memory-limit, otherwise guide)")
	flags.BoolVar(&f.concurrent, "concurrent", false, "a goroutine for each stream of the file, in the order of each")
	flags.IntVar(&f.window, "window", replay.DefaultWindow, "with --concurrent: goroutines stay within `N` events of the file's order (0: keep to it)")
	flags.DurationVar(&f.lag, "lag", 0, "freed pages can leave a stream only that `TIME` later (10ms), on the file's clock (0: at once)")
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
	return replay.Config{
		Concurrent: f.concurrent, Window: f.window, Lag: f.lag, Clock: new(metal.VirtualClock),
		Apart: !f.concurrent && f.lag == 0,
	}, nil
}

// open gives a device whose queues run by that clock.
func (f *replayFlags) open(clock metal.Clock) (metal.Device, error) {
	switch f.device {
	case "host":
		if f.pageSize.set {
			return nil, usagef("--page-size goes with --device sim: the host's pages are what they are")
		}
		opts := []host.Option{host.WithClock(clock)}
		if f.memory.set {
			opts = append(opts, host.WithMemory(f.memory.bytes))
		}
		return opened(host.Open(opts...))
	case "sim":
		return opened(sim.New(sim.Config{Memory: f.memory.bytes, PageSize: f.pageSize.bytes, Clock: clock}))
	}
	return nil, usagef("invalid argument %q for \"--device\" flag: want host or sim", f.device)
}

// opened makes sizes that a device can't have usage errors.
func opened[D metal.Device](dev D, err error) (metal.Device, error) {
	switch {
	case errors.Is(err, metal.ErrInvalidSize):
		return nil, usageError{err}
	case err != nil:
		return nil, err
	}
	return dev, nil
}

// pytorchPeaks is what peaks.jsonl beside a trace knows of it; nil if nothing.
func pytorchPeaks(path string) (*replay.PyTorch, error) {
	all, err := torch.ReadPeaks(filepath.Join(filepath.Dir(path), "peaks.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	peaks, ok := all[torch.TraceName(path)]
	if !ok {
		return nil, nil
	}
	return &replay.PyTorch{
		Native:     peaksOf(peaks[torch.Native]),
		Expandable: peaksOf(peaks[torch.Expandable]),
		Async:      peaksOf(peaks[torch.Async]),
	}, nil
}

func peaksOf(p torch.Peaks) replay.Peaks {
	// cudaMallocAsync counts as allocated just what was requested.
	return replay.Peaks{RequestedPeak: cmp.Or(p.Requested, p.Allocated), ReservedPeak: p.Reserved}
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
