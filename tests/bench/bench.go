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
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
)

// Report is all rows, in the order of their workloads.
type Report struct {
	Go      string    `json:"go"`
	System  string    `json:"system"` // GOOS/GOARCH
	CPU     string    `json:"cpu"`    // as the system names it; empty: not known
	Cores   int       `json:"cores"`
	Rounds  int       `json:"rounds"`
	ChunkNS int64     `json:"chunk_ns"` // how long each rival ran in a round
	ClockNS float64   `json:"clock_ns"` // what reading the clock once takes
	Scaling []Scaling `json:"scaling"`
	Rows    []Row     `json:"rows"`
	Idle    []Idle    `json:"idle"`
}

// Row is one rival in one workload. Times are ns.
type Row struct {
	Workload   string `json:"workload"`
	Name       string `json:"name"` // of the rival
	Goroutines int    `json:"goroutines"`
	Streams    int    `json:"streams"`
	Size       int64  `json:"size"` // bytes; 0: a trace's sizes
	Live       int    `json:"live"` // other blocks in use meanwhile

	NSPerPair     float64 `json:"ns_per_pair"` // wall time ÷ pairs of all goroutines
	AllocsPerPair float64 `json:"allocs_per_pair"`
	RatioToMutex  float64 `json:"ratio_to_mutex"` // throughput ÷ that of mutex in the same round; 0 without a mutex

	// From a pass of their own, a clock reading (Report.ClockNS) included: of a pair
	// by one goroutine; of a malloc in growth; of a free in here-there; of a malloc or free
	// in replay; of ActiveMemory in query and query-behind-miss; of Snapshot in snapshot.
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`

	// Of pair only, otherwise 0. Scaling is throughput ÷ the same rival's with one
	// goroutine. Control is the same of a loop that shares nothing, with as many
	// goroutines, or as there are cores if that is less, measured among this row's
	// rounds. Share is Scaling ÷ Control.
	Scaling float64 `json:"scaling"`
	Control float64 `json:"control"`
	Share   float64 `json:"share"`

	// ControlScaling is that loop's of two goroutines, measured among this row's
	// rounds; Marked: it is below 1.9, so the machine wasn't all there.
	ControlScaling float64 `json:"control_scaling"`
	Marked         bool    `json:"marked"`
}

// markBelow: of two goroutines, less than this times one's throughput.
const markBelow = 1.9

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
		Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPU: cpuName(),
		Cores: runtime.GOMAXPROCS(0), Rounds: o.Rounds, ChunkNS: int64(o.Chunk), ClockNS: clockNS(),
		Idle: []Idle{}, Rows: []Row{},
	}
	scalings := map[int][]float64{}
	for i, c := range cs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if o.Progress != nil {
			o.Progress(i, len(cs), c.String())
		}
		if err := report.add(o, c, system); err != nil {
			return nil, fmt.Errorf("%v: %w", c, err)
		}
		for _, g := range controlled() {
			scalings[g] = append(scalings[g], scaling(g, controlLoops(o.Chunk)))
		}
	}
	for _, g := range controlled() {
		report.Scaling = append(report.Scaling, Scaling{g, round3(median(scalings[g]))})
	}
	report.share()
	return report, nil
}

// add measures one config.
func (r *Report) add(o Options, c config, system *actors.System) error {
	if c.workload == idleStreams {
		idle, err := measureIdle(system, c.streams, min(o.Rounds, 3))
		r.Idle = append(r.Idle, idle)
		return err
	}
	l := line{options: o, config: c, env: env{system: system, streams: c.streams, live: c.live}}
	if c.missing {
		l.env.streams++
	}
	rows, err := l.run()
	r.Rows = append(r.Rows, rows...)
	return err
}

// share fills in how rows scale, where they have one to be compared with.
func (r *Report) share() {
	one := map[string]float64{} // by rival
	for _, row := range r.Rows {
		if row.Workload == pair && row.Goroutines == 1 {
			one[row.Name] = row.NSPerPair
		}
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Workload == pair && row.NSPerPair > 0 && row.Control > 0 {
			row.Scaling = round3(one[row.Name] / row.NSPerPair)
			row.Share = round3(row.Scaling / row.Control)
		}
	}
}

// cpuName is the first that Linux lists; elsewhere none.
func cpuName() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, name, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(name)
		}
	}
	return ""
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
