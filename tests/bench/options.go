package bench

import (
	"errors"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/metalloc/metalloc/telemetry/torch"
)

// Options say what to run. The zero value runs all, in full, without traces.
type Options struct {
	Quick    bool          // fewer goroutines, the beginnings of traces; ends within 40 s on 2 cores
	Workload string        // patterns of path.Match for workloads' names, with commas ("pair,replay:*"); empty: all
	Traces   string        // folder of *.pickle.gz histories; empty: no workload with a trace
	Chunk    time.Duration // how long a rival runs at a stretch; 0: 100 ms, or 20 ms if Quick
	Rounds   int           // 0: 9, or 3 if Quick
	// Progress is told before each line of work; nil: nobody is.
	Progress func(done, total int, next string)
}

// ErrNoWorkload is returned when a pattern fits none.
var ErrNoWorkload = errors.New("no such workload")

func (o Options) withDefaults() Options {
	if o.Chunk == 0 {
		o.Chunk = 100 * time.Millisecond
		if o.Quick {
			o.Chunk = 20 * time.Millisecond
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

// patterns are those of Workload.
func (o Options) patterns() []string {
	if o.Workload == "" {
		return []string{"*"} // no name has a slash
	}
	return strings.Split(o.Workload, ",")
}

// asksFor tells whether one of the patterns fits a name. They are known to be
// well formed.
func (o Options) asksFor(label string) bool {
	for _, p := range o.patterns() {
		if ok, _ := path.Match(p, label); ok {
			return true
		}
	}
	return false
}

// configs are the lines of work asked for. A pattern that fits none is an error.
func (o Options) configs() (cs []config, err error) {
	for _, p := range o.patterns() {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("workload %q: %w", p, err)
		}
	}
	traces, err := o.traces()
	if err != nil {
		return nil, err
	}
	all := configs(o.Quick, runtime.GOMAXPROCS(0), traces)
	for _, p := range o.patterns() {
		if !slices.ContainsFunc(all, func(c config) bool { ok, _ := path.Match(p, c.label()); return ok }) {
			return nil, fmt.Errorf("workload %q: %w", p, ErrNoWorkload)
		}
	}
	return slices.DeleteFunc(all, func(c config) bool { return !o.asksFor(c.label()) }), nil
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
		if !o.asksFor(replayed+":"+name) && !o.asksFor(traceSizes+":"+name) {
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
