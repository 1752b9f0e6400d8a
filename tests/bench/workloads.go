package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/telemetry/torch"
)

// config is one line of work that all rivals are given. Goroutine g works on
// stream g modulo streams.
type config struct {
	workload   string
	goroutines int
	streams    int
	size       int64    // 0: a trace's sizes
	trace      *trace   // nil: none
	missing    bool     // one more stream, which misses all the time
	live       int      // other blocks of that size that are live meanwhile
	spans      int      // open meanwhile
	only       []string // the rivals who do it; nil: all
}

// The workloads, by name.
const (
	pair            = "pair"              // malloc, free
	oneStream       = "one-stream"        // the same, all goroutines on one stream
	traceSizes      = "trace-sizes"       // malloc and free, 16 blocks live, sizes in the order of a trace
	hereThere       = "here-there"        // malloc here, free by the next goroutine, 64 blocks at a time
	query           = "query"             // pairs, and ActiveMemory after every 100 of them
	resetPeak       = "reset-peak"        // pairs, and ResetPeakMemory after every 1,000 of a goroutine's
	growth          = "growth"            // ResetPeakMemory, 256 mallocs, which are a new peak each, 256 frees
	behindMiss      = "behind-miss"       // pairs, while another stream sits in device calls of 10 ms
	queryBehindMiss = "query-behind-miss" // query, likewise
	snapshot        = "snapshot"          // pairs, and Snapshot after every 1,000 of a goroutine's
	liveBeside      = "live"              // pairs of 64 KiB, while other blocks of that size are live
	liveRandom      = "live-random"       // the same, but what is freed is one of those, at random
	streamsInTurn   = "streams"           // pairs by two goroutines, each on its half of the streams in turn
	oneSize         = "size"              // pairs of a size
	oneSpan         = "spans-1"           // pairs, while a span is open
	manySpans       = "spans-16"          // pairs, while 16 spans are open, one within the other
	idleStreams     = "idle-streams"      // see [Idle]
	replayed        = "replay"            // a trace's mallocs and frees, in its order, by one goroutine
)

const (
	mib           = 1 << 20
	queryEvery    = 100
	resetEvery    = 1000
	snapshotEvery = 1000
	growthDepth   = 256
	batch         = 64 // blocks handed on at a time
	window        = 16 // blocks live at a time
	deviceCall    = 10 * time.Millisecond
)

// alone and direct are who does what not all can do, or what is measured to see
// how cost grows: the actors' cost is their messages'.
var (
	alone  = []string{Metalloc}
	direct = []string{Metalloc, Mutex, packedName}
)

// configs are the lines of work, in their order; the quick ones are fewer.
func configs(quick bool, cores int, traces []*trace) (cs []config) {
	add := func(c config, goroutines ...int) {
		for _, g := range goroutines {
			c.goroutines, c.size = g, mib
			if c.streams = g; c.workload == oneStream {
				c.streams = 1
			}
			cs = append(cs, c)
		}
	}
	many, some, few := []int{1, 2, 4, 8, 16, 32, 64}, []int{1, 2, 4, 8, 16}, []int{1, 2}
	if quick {
		many, some, few = []int{1, 2, 4, 8, 16}, []int{1, 4}, []int{1, 4}
	}
	add(config{workload: pair}, many...)
	add(config{workload: oneStream}, many[1:]...)
	add(config{workload: hereThere}, many[1:min(len(many)-2, 5)]...)
	add(config{workload: query}, some[:len(some)-1]...)
	add(config{workload: query}, 16)
	add(config{workload: snapshot, only: alone}, 16)
	add(config{workload: oneSpan, spans: 1, only: alone}, some...)
	add(config{workload: manySpans, spans: 16, only: alone}, some...)
	add(config{workload: resetPeak}, some...)
	add(config{workload: growth}, some...)
	add(config{workload: behindMiss, missing: true}, few...)
	add(config{workload: queryBehindMiss, missing: true}, slices.Compact([]int{1, cores})...)
	cs = append(cs, growing(quick)...)
	cs = append(cs, config{workload: idleStreams, streams: idleOpen})
	for _, t := range traces {
		if t.name == sizesTrace {
			for _, g := range some {
				cs = append(cs, config{workload: traceSizes, goroutines: g, streams: g, trace: t})
			}
		}
		cs = append(cs, config{workload: replayed, goroutines: 1, streams: t.streams, trace: t})
	}
	return cs
}

// growing are the lines that show how a pair's cost grows with something else
// than goroutines.
func growing(quick bool) (cs []config) {
	lives := []int{1, 10, 100, 1000, 10_000, 100_000, 1_000_000}
	streams := []int{2, 4, 16, 64, 256, 1024}
	bytes := []int64{512, 4 << 10, 32 << 10, 256 << 10, 2 * mib, 16 * mib, 128 * mib, 1024 * mib}
	if quick {
		lives, streams, bytes = []int{1, 1000, 100_000}, []int{2, 64}, []int64{512, 256 << 10, 16 * mib, 1024 * mib}
	}
	for _, workload := range []string{liveBeside, liveRandom} {
		for _, n := range lives {
			cs = append(cs, config{workload: workload, goroutines: 1, streams: 1, size: liveSize, live: n, only: direct})
		}
	}
	for _, n := range streams {
		cs = append(cs, config{workload: streamsInTurn, goroutines: 2, streams: n, size: mib, only: direct})
	}
	for _, n := range bytes {
		cs = append(cs, config{workload: oneSize, goroutines: 1, streams: 1, size: n, only: direct})
	}
	return cs
}

// doneBy tells whether a rival takes part.
func (c config) doneBy(rival string) bool {
	return c.only == nil || slices.Contains(c.only, rival)
}

func (c config) label() string {
	if c.trace == nil {
		return c.workload
	}
	return c.workload + ":" + c.trace.name
}

func (c config) String() string {
	if c.workload == idleStreams {
		return fmt.Sprintf("%d idle streams", c.streams)
	}
	s := fmt.Sprintf("%s, %d goroutines, %d streams", c.label(), c.goroutines, c.streams)
	switch c.workload {
	case liveBeside, liveRandom:
		s += fmt.Sprintf(", %d live", c.live)
	case oneSize:
		s += ", " + humanize.IBytes(uint64(c.size))
	}
	return s
}

// trace is a recorded history as plain mallocs and frees.
type trace struct {
	name    string
	streams int
	sizes   []int64 // by block
	owner   []int32 // by block: stream
	ops     []int32 // block: malloc; ^block: free
}

// newTrace takes the first mallocs of a history, at most that many, and the frees
// among them. A block is freed where its last use was over (free_completed): all
// rivals may hand it out again from there on.
func newTrace(name string, h *torch.History, mallocs int) *trace {
	t := &trace{name: name, streams: len(h.Streams)}
	for _, e := range h.Events {
		switch {
		case e.Block < 0:
		case e.Action == torch.Alloc && len(t.sizes) == mallocs:
			return t
		case e.Action == torch.Alloc:
			t.sizes, t.owner = append(t.sizes, max(e.Size, 1)), append(t.owner, e.Stream)
			t.ops = append(t.ops, e.Block)
		case e.Action == torch.FreeCompleted:
			t.ops = append(t.ops, ^e.Block)
		}
	}
	return t
}
