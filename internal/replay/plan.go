package replay

import "github.com/metalloc/metalloc/telemetry/torch"

// plan is a history made ready to play, so that the timed loop does nothing but
// the calls.
type plan struct {
	ops     []op
	sides   int   // side streams needed
	pending int64 // blocks whose free is never completed
}

// op is one step. Kept small: a history has millions.
type op struct {
	size   int64 // of a malloc
	block  int32 // of a malloc and the frees
	stream int32 // malloc: index of the history's stream; freeUsed, complete: of the side stream
	kind   kind
}

type kind uint8

const (
	malloc   kind = iota
	free          // nothing uses the block any longer
	freeUsed      // work on a side stream still uses it
	complete      // that work is done
)

// newPlan works out the steps. A block that is not free_completed right after
// its free_requested is, at its free, in use on a side stream of its own until
// then; side streams are used again, so there are as many as such blocks at one
// time.
func newPlan(h *torch.History) plan {
	p := plan{ops: make([]op, 0, h.Mallocs+h.Frees)}
	sideOf := map[int32]int32{} // block → side stream
	var idle []int32            // side streams
	for i, e := range h.Events {
		if e.Block < 0 {
			continue
		}
		switch e.Action {
		case torch.Alloc:
			p.ops = append(p.ops, op{kind: malloc, block: e.Block, size: e.Size, stream: e.Stream})
		case torch.FreeRequested:
			p.pending++
			if completes(h.Events, i+1, e.Block) {
				p.ops = append(p.ops, op{kind: free, block: e.Block})
				continue
			}
			if len(idle) == 0 {
				idle = append(idle, int32(p.sides))
				p.sides++
			}
			side := idle[len(idle)-1]
			idle = idle[:len(idle)-1]
			sideOf[e.Block] = side
			p.ops = append(p.ops, op{kind: freeUsed, block: e.Block, stream: side})
		case torch.FreeCompleted:
			p.pending--
			if side, ok := sideOf[e.Block]; ok {
				delete(sideOf, e.Block)
				idle = append(idle, side)
				p.ops = append(p.ops, op{kind: complete, stream: side})
			}
		}
	}
	return p
}

// completes tells whether event i is the free_completed of a block.
func completes(events []torch.Event, i int, block int32) bool {
	return i < len(events) && events[i].Action == torch.FreeCompleted && events[i].Block == block
}
