package main

import (
	"github.com/metalloc/metalloc/internal/inspect"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// other is what others keep for a recorded history; bytes.
type other struct {
	Trace         string `json:"trace"`
	RequestedPeak int64  `json:"requested_peak"`
	MLXReserved   int64  `json:"mlx_reserved_peak"`
	// PyTorch is what its default allocator had reserved while the history was
	// recorded, where it changes.
	PyTorch []level `json:"pytorch"`
}

// level is what was reserved from a time on.
type level struct {
	TimeNS   int64 `json:"time_ns"` // from the first event
	Reserved int64 `json:"reserved"`
}

// recordedSteps is into how many steps of time the recording is summed up: more
// than a plot has columns.
const recordedSteps = 1000

func otherOf(trace string, h *torch.History) other {
	s := inspect.Summarize(h, recordedSteps)
	o := other{Trace: trace, RequestedPeak: s.RequestedPeak, MLXReserved: mlxReserved(h)}
	for _, p := range s.OverTime {
		if n := len(o.PyTorch); n == 0 || o.PyTorch[n-1].Reserved != p.Reserved {
			o.PyTorch = append(o.PyTorch, level{p.TimeUS * 1000, p.Reserved})
		}
	}
	return o
}

// mlxReserved plays a history's mallocs and frees, all streams on one cache, by
// MLX's rule and returns the most that is kept: a cache without a limit gives
// nothing back. A block can be used again from its free_requested on.
func mlxReserved(h *torch.History) int64 {
	var c mlxCache
	held := make([]int64, 0, h.Mallocs) // by block: the size of the buffer that serves it
	for _, e := range h.Events {
		switch {
		case e.Block < 0:
		case e.Action == torch.Alloc:
			held = append(held, c.take(e.Size))
		case e.Action == torch.FreeRequested:
			c.give(held[e.Block])
		}
	}
	return c.reserved
}
