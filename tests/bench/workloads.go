package bench

import (
	"fmt"
	"time"

	"github.com/metalloc/metalloc/telemetry/torch"
)

// config is one line of work that all rivals are given. Goroutine g works on
// stream g modulo streams.
type config struct {
	workload   string
	goroutines int
	streams    int
	size       int64  // 0: a trace's sizes
	trace      *trace // nil: none
	missing    bool   // one more stream, which misses all the time
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
	replayed        = "replay"            // a trace's mallocs and frees, in its order, by one goroutine
)

const (
	mib         = 1 << 20
	queryEvery  = 100
	resetEvery  = 1000
	growthDepth = 256
	batch       = 64 // blocks handed on at a time
	window      = 16 // blocks live at a time
	deviceCall  = 10 * time.Millisecond
)

// configs are the lines of work, in their order; the quick ones are fewer.
func configs(quick bool, traces []*trace) (cs []config) {
	add := func(workload string, goroutines ...int) {
		for _, g := range goroutines {
			c := config{workload: workload, goroutines: g, streams: g, size: mib}
			c.missing = workload == behindMiss || workload == queryBehindMiss
			if workload == oneStream {
				c.streams = 1
			}
			cs = append(cs, c)
		}
	}
	many, some := []int{1, 2, 4, 8, 16, 32, 64}, []int{1, 2, 4, 8, 16}
	if quick {
		many, some = []int{1, 2, 4, 8, 16}, []int{1, 4}
	}
	add(pair, many...)
	add(oneStream, many[1:]...)
	add(hereThere, many[1:3]...)
	add(query, some...)
	add(resetPeak, some...)
	add(growth, some...)
	add(behindMiss, some[:2]...)
	add(queryBehindMiss, some[:2]...)
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

func (c config) label() string {
	if c.trace == nil {
		return c.workload
	}
	return c.workload + ":" + c.trace.name
}

func (c config) String() string {
	return fmt.Sprintf("%s, %d goroutines, %d streams", c.label(), c.goroutines, c.streams)
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
