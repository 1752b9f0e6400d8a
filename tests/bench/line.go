package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
)

// line is one config, done by all rivals in turn.
type line struct {
	options Options
	config  config
	env     env
	lanes   []*lane
}

// lane is one rival in a line.
type lane struct {
	rival
	subject
	n      int // pairs for each goroutine in a chunk
	ns     []float64
	allocs []float64
	recs   []*recorder
}

func (l *line) run() (rows []Row, err error) {
	defer func() {
		for _, lane := range l.lanes {
			if e := lane.close(); e != nil {
				rows, err = nil, errors.Join(err, fmt.Errorf("%s: %w", lane.name, e))
			}
		}
	}()
	if err := l.open(); err != nil {
		return nil, err
	}
	runtime.GC() // not while the clock runs
	var two, same []float64
	loops := controlLoops(l.options.Chunk)
	for round := range l.options.Rounds {
		for i := range l.lanes {
			lane := l.lanes[(round+i)%len(l.lanes)] // nobody always comes after the same
			if err := l.measure(lane, nil); err != nil {
				return nil, fmt.Errorf("%s: %w", lane.name, err)
			}
		}
		two = append(two, scaling(2, loops))
		if l.config.workload == pair {
			same = append(same, l.sameScaling(loops))
		}
	}
	for _, lane := range l.lanes {
		for range l.config.goroutines {
			lane.recs = append(lane.recs, newRecorder())
		}
		if err := l.measure(lane, lane.recs); err != nil {
			return nil, fmt.Errorf("%s: %w", lane.name, err)
		}
	}
	rows = l.rows()
	for i := range rows {
		r := &rows[i]
		r.ControlScaling = round3(median(two))
		r.Marked = r.ControlScaling < markBelow
		if same != nil {
			r.Control = round3(median(same))
		}
	}
	return rows, nil
}

// sameScaling is that of as many goroutines as the config has, if there are cores
// for them.
func (l *line) sameScaling(loops int) float64 {
	g := min(l.config.goroutines, runtime.GOMAXPROCS(0))
	if g == 1 {
		return 1
	}
	return scaling(g, loops)
}

// open sets up all rivals and finds out how many pairs make a chunk.
func (l *line) open() error {
	for _, r := range rivals {
		if !l.config.doneBy(r.name) {
			continue
		}
		s, err := r.open(l.config, &l.env)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		ln := &lane{rival: r, subject: s, n: 1}
		l.lanes = append(l.lanes, ln)
		if err := s.warm(); err != nil {
			return fmt.Errorf("%s: warming up: %w", r.name, err)
		}
		if err := l.calibrate(ln); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// calibrate doubles n until a chunk is long enough to scale up from.
func (l *line) calibrate(ln *lane) error {
	for {
		c, err := measure(ln.subject, l.config.goroutines, ln.n, nil)
		if err != nil {
			return err
		}
		if c.wall >= l.options.Chunk/8 {
			n := float64(l.options.Chunk) / c.ns() / float64(l.config.goroutines)
			ln.n = max(1, int(n))
			return nil
		}
		ln.n = max(2*ln.n, c.pairs/l.config.goroutines+1)
	}
}

func (l *line) measure(ln *lane, recs []*recorder) error {
	f := func() error {
		c, err := measure(ln.subject, l.config.goroutines, ln.n, recs)
		if err == nil && recs == nil {
			ln.ns, ln.allocs = append(ln.ns, c.ns()), append(ln.allocs, c.allocs())
		}
		return err
	}
	if l.config.missing {
		return whileMissing(ln.subject, &l.env.slow, f)
	}
	return ln.inSpans(context.Background(), l.config.spans, f)
}

func (l *line) rows() (rows []Row) {
	var mutexNS []float64
	for _, ln := range l.lanes {
		if ln.name == Mutex {
			mutexNS = ln.ns
		}
	}
	for _, ln := range l.lanes {
		r := Row{
			Workload: l.config.label(), Name: ln.name, Goroutines: l.config.goroutines, Streams: l.config.streams,
			NSPerPair: math.Round(median(ln.ns)*100) / 100, AllocsPerPair: round3(median(ln.allocs)),
			Live: l.config.live,
		}
		if mutexNS != nil {
			ratios := make([]float64, len(ln.ns))
			for i, ns := range ln.ns {
				ratios[i] = mutexNS[i] / ns
			}
			r.RatioToMutex = round3(median(ratios))
		}
		if l.config.trace == nil {
			r.Size = l.config.size
		}
		r.P50, r.P99, r.P999 = percentiles(ln.recs)
		rows = append(rows, r)
	}
	return rows
}
