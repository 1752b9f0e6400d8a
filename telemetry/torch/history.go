// Package torch reads the allocation history in a PyTorch CUDA memory snapshot,
// the pickled dictionary that torch.cuda.memory._snapshot() gives, into plain
// data that can be replayed against an allocator.
//
// A snapshot is a pickle, so it comes from a stranger's machine and in a format
// that can run code. [Read] makes three steps of it: a scan over the opcodes
// that admits plain data only and bounds what it would take in memory (scan.go),
// github.com/nlpodyssey/gopickle building the values (decode.go), and the walk
// over them that pairs every free with its alloc (pair.go).
//
// Not stable yet.
package torch

// Action is what an [Event] says happened.
type Action uint8

const (
	// Other is any action without a name here: "oom", "snapshot",
	// "segment_map", and what later PyTorch versions add. The zero value.
	Other Action = iota
	// Alloc: a block was handed out.
	Alloc
	// FreeRequested: the program gave a block back; queued work may still use it.
	FreeRequested
	// FreeCompleted: no queued work uses the block any longer; its memory may be
	// handed out again.
	FreeCompleted
	// SegmentAlloc: PyTorch took a segment from the device.
	SegmentAlloc
	// SegmentFree: PyTorch gave a segment back to the device.
	SegmentFree
)

var actionNames = [...]string{"other", "alloc", "free_requested", "free_completed", "segment_alloc", "segment_free"}

// String is PyTorch's own name of the action.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "invalid"
}

// Event is one entry of a history. Kept small: a history has millions.
type Event struct {
	Addr   uint64 // device address
	Size   int64  // bytes; of an Alloc: as the program asked, not rounded up; never negative
	TimeUS int64  // wall clock in µs since 1970; 0 where the snapshot has none (PyTorch before 2.1)
	Block  int32  // the block it belongs to, counted from 0 in the order of the Allocs; -1: none
	Stream int32  // index into History.Streams; -1 for Other
	Action Action
}

// History is what one device's allocator did, oldest event first.
//
// Whatever the snapshot left out, these hold for each block: one Alloc, then at
// most one FreeRequested, then at most one FreeCompleted; and no address belongs
// to two blocks at a time. Events that had to be made up for it are counted in
// Implied and carry the time of the event that showed them missing, so an
// event's index need not be its index in the snapshot. A free that fits no block
// stays in Events with Block -1.
type History struct {
	Device  int      // index into the snapshot's device_traces
	Events  []Event  // owned by the caller
	Streams []uint64 // handles, in order of appearance; 0 is the default stream

	Mallocs int // Alloc events, so also the number of blocks
	Frees   int // FreeRequested events that belong to a block
	Skipped int // free events whose Alloc is not in the history, or that free a block again
	Reused  int // Allocs at the address of a block whose free is missing: it is taken to have been freed just before
	Implied int // free events made up
	Others  int // Other events
}

// Live is the number of blocks that were never free_requested, so still in use
// when the snapshot was taken.
func (h *History) Live() int { return h.Mallocs - h.Frees }

// RequestedPeaks gives the most bytes that were requested at one time, of all
// streams together and of each stream by itself (indexed as Streams; the stream
// is that of the Alloc). A block counts from its Alloc to its FreeCompleted, as
// in PyTorch's requested_bytes statistics.
func (h *History) RequestedPeaks() (total int64, perStream []int64) {
	type block struct {
		size   int64
		stream int32
	}
	blocks := make([]block, 0, max(h.Mallocs, 0))
	perStream = make([]int64, len(h.Streams))
	now := make([]int64, len(h.Streams))
	var sum int64
	for i := range h.Events {
		e := &h.Events[i]
		switch {
		case e.Action == Alloc && e.Stream >= 0 && int(e.Stream) < len(now):
			blocks = append(blocks, block{e.Size, e.Stream})
			sum += e.Size
			now[e.Stream] += e.Size
			total = max(total, sum)
			perStream[e.Stream] = max(perStream[e.Stream], now[e.Stream])
		case e.Action == FreeCompleted && e.Block >= 0 && int(e.Block) < len(blocks):
			b := blocks[e.Block]
			sum -= b.size
			now[b.stream] -= b.size
		}
	}
	return total, perStream
}
