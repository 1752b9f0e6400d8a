// Package bench measures metalloc and its rivals in one run: MLX's rule behind
// one mutex, the same in a plain actor, and one shared ledger word with a mutex
// per stream. The rivals take turns, round after round, so that what else the
// machine does hits all of them; figures are medians over the rounds.
//
// metalloc bench prints what [Run] gives; go test -bench in this folder runs the
// same work. Not stable.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// Options say what to run. The zero value runs all, in full, without traces.
type Options struct {
	Quick    bool          // fewer goroutines, the beginnings of traces; ends within 40 s on 2 cores
	Workload string        // a pattern of path.Match for workloads' names ("replay:*"); empty: all
	Traces   string        // folder of *.pickle.gz histories; empty: no workload with a trace
	Chunk    time.Duration // how long a rival runs at a stretch; 0: 100 ms, or 25 ms if Quick
	Rounds   int           // 0: 9, or 3 if Quick
	// Progress is told before each line of work; nil: nobody is.
	Progress func(done, total int, next string)
}

// Row is one rival in one workload. Times are ns.
type Row struct {
	Workload   string `json:"workload"`
	Name       string `json:"name"` // of the rival
	Goroutines int    `json:"goroutines"`
	Streams    int    `json:"streams"`
	Size       int64  `json:"size"` // bytes; 0: a trace's sizes

	NSPerPair     float64 `json:"ns_per_pair"` // wall time ÷ pairs of all goroutines
	AllocsPerPair float64 `json:"allocs_per_pair"`
	RatioToMutex  float64 `json:"ratio_to_mutex"` // throughput ÷ that of mutex in the same round; 0 without a mutex

	// From a pass of their own, a clock reading (Report.ClockNS) included: of a pair
	// by one goroutine; of a malloc in growth; of a free in here-there; of a malloc or free
	// in replay; of ActiveMemory in query and query-behind-miss.
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`

	// ControlScaling is Report.Scaling of two goroutines, measured among this row's
	// rounds; Marked: it is below 1.9, so the machine wasn't all there.
	ControlScaling float64 `json:"control_scaling"`
	Marked         bool    `json:"marked"`
}

// Report is all rows, in the order of their workloads.
type Report struct {
	Go      string    `json:"go"`
	System  string    `json:"system"` // GOOS/GOARCH
	Cores   int       `json:"cores"`
	ClockNS float64   `json:"clock_ns"` // what reading the clock once takes
	Scaling []Scaling `json:"scaling"`
	Rows    []Row     `json:"rows"`
}

// Scaling is what a loop of compare-and-swaps on private words got through, all
// goroutines together, in times what one got through: median of the whole run.
type Scaling struct {
	Goroutines int     `json:"goroutines"`
	Times      float64 `json:"times"`
}

// markBelow: of two goroutines, less than this times one's throughput.
const markBelow = 1.9

// ErrNoWorkload is returned when a pattern fits none.
var ErrNoWorkload = errors.New("no such workload")

// Mutex is the rival that the others are compared with.
const Mutex = "mutex"

// Run measures. ctx ends it between two lines of work. A pattern that makes no
// sense is path.ErrBadPattern, one that fits nothing ErrNoWorkload.
func Run(ctx context.Context, o Options) (*Report, error) {
	o = o.withDefaults()
	cs, err := o.configs()
	if err != nil {
		return nil, err
	}
	system := allocator.NewSystem(nil)
	defer system.Shutdown()

	report := &Report{
		Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Cores: runtime.GOMAXPROCS(0), ClockNS: clockNS(),
	}
	scalings := map[int][]float64{}
	for i, c := range cs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if o.Progress != nil {
			o.Progress(i, len(cs), c.String())
		}
		l := line{options: o, config: c, env: env{system: system, streams: c.streams}}
		if c.missing {
			l.env.streams++
		}
		rows, err := l.run()
		if err != nil {
			return nil, fmt.Errorf("%v: %w", c, err)
		}
		report.Rows = append(report.Rows, rows...)
		for g := 2; g <= max(2, report.Cores); g *= 2 {
			scalings[g] = append(scalings[g], scaling(g))
		}
	}
	for g := 2; scalings[g] != nil; g *= 2 {
		report.Scaling = append(report.Scaling, Scaling{g, round3(median(scalings[g]))})
	}
	return report, nil
}

func (o Options) withDefaults() Options {
	if o.Chunk == 0 {
		o.Chunk = 100 * time.Millisecond
		if o.Quick {
			o.Chunk = 25 * time.Millisecond
		}
	}
	if o.Rounds == 0 {
		o.Rounds = 9
		if o.Quick {
			o.Rounds = 3
		}
	}
	return o
}

// quickMallocs is how much of a trace is played in a quick run.
const quickMallocs = 5000

// sizesTrace is the one whose sizes trace-sizes takes: several streams, and many
// sizes.
const sizesTrace = "serve-4streams"

func (o Options) configs() (cs []config, err error) {
	if _, err := path.Match(o.Workload, ""); err != nil {
		return nil, fmt.Errorf("workload %q: %w", o.Workload, err)
	}
	traces, err := o.traces()
	if err != nil {
		return nil, err
	}
	for _, c := range configs(o.Quick, traces) {
		if ok, _ := path.Match(o.Workload, c.label()); ok || o.Workload == "" {
			cs = append(cs, c)
		}
	}
	if cs == nil {
		return nil, fmt.Errorf("workload %q: %w", o.Workload, ErrNoWorkload)
	}
	return cs, nil
}

// traces are read only where their workloads are asked for.
func (o Options) traces() (ts []*trace, err error) {
	if o.Traces == "" {
		return nil, nil
	}
	paths, err := filepath.Glob(filepath.Join(o.Traces, "*.pickle.gz"))
	if err != nil {
		return nil, err
	}
	limit := math.MaxInt
	if o.Quick {
		limit = quickMallocs
	}
	for _, p := range paths {
		name := torch.TraceName(p)
		wanted := o.Workload == ""
		for _, w := range []string{replayed, traceSizes} {
			ok, _ := path.Match(o.Workload, w+":"+name)
			wanted = wanted || ok
		}
		if !wanted {
			continue
		}
		h, err := torch.ReadFile(p, nil)
		if err != nil {
			return nil, err
		}
		ts = append(ts, newTrace(name, h, limit))
	}
	return ts, nil
}

// clockNS is a median.
func clockNS() float64 {
	var times []float64
	for range 101 {
		const calls = 100
		began := time.Now()
		for range calls {
			_ = time.Since(epoch)
		}
		times = append(times, float64(time.Since(began))/calls)
	}
	return math.Round(median(times)*10) / 10
}

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	n := len(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2
}

func round3(x float64) float64 { return math.Round(x*1000) / 1000 }
