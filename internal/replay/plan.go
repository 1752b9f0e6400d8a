package replay

import "github.com/metalloc/metalloc/telemetry/torch"

// plan is a history made ready to play, so that the timed loop does nothing but
// the calls.
type plan struct {
	ops     []op
	sides   int             // side streams needed
	pending int64           // blocks whose free is never completed
	late    map[int32]int32 // block freed late → event of its free_completed; none: it never comes
}

// op is one step. Kept small: a history has millions.
type op struct {
	size   int64 // the block's
	block  int32
	stream int32 // the block's: index of the history's stream
	side   int32 // freeUsed, complete: index of the side stream
	event  int32 // index in the history
	kind   kind
}

// requests is by how many bytes a step raises what is requested, and returns by
// how many it lowers it, as a negative number: a block counts from its malloc
// until nothing uses it any longer.

func (o *op) requests() int64 {
	if o.kind == malloc {
		return o.size
	}
	return 0
}

func (o *op) returns() int64 {
	if o.kind == free || o.kind == complete {
		return -o.size
	}
	return 0
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
// then. Each stream has side streams for its blocks, used again and again, so
// there are as many as it has such blocks at one time. A side stream's steps are
// thus all of one stream, whose order is kept whoever plays it.
func newPlan(h *torch.History) plan {
	p := plan{ops: make([]op, 0, h.Mallocs+h.Frees), late: map[int32]int32{}}
	blocks := make([]op, 0, h.Mallocs) // their mallocs
	sideOf := map[int32]int32{}        // block → side stream
	idle := map[int32][]int32{}        // stream → side streams
	for i, e := range h.Events {
		if e.Block < 0 {
			continue
		}
		if e.Action == torch.Alloc {
			blocks = append(blocks, op{kind: malloc, block: e.Block, size: e.Size, stream: e.Stream})
		}
		o := blocks[e.Block]
		o.event = int32(i)
		switch e.Action {
		case torch.FreeRequested:
			p.pending++
			o.kind = free
			if completes(h.Events, i+1, e.Block) {
				break
			}
			o.kind = freeUsed
			sides := idle[o.stream]
			if len(sides) == 0 {
				sides = append(sides, int32(p.sides))
				p.sides++
			}
			last := len(sides) - 1
			o.side, idle[o.stream] = sides[last], sides[:last]
			sideOf[e.Block] = o.side
		case torch.FreeCompleted:
			p.pending--
			side, ok := sideOf[e.Block]
			if !ok {
				continue // done with the free
			}
			delete(sideOf, e.Block)
			idle[o.stream] = append(idle[o.stream], side)
			p.late[e.Block] = int32(i)
			o.kind, o.side = complete, side
		}
		p.ops = append(p.ops, o)
	}
	return p
}

// completes tells whether event i is the free_completed of a block.
func completes(events []torch.Event, i int, block int32) bool {
	return i < len(events) && events[i].Action == torch.FreeCompleted && events[i].Block == block
}
