package streams

import "slices"

// This file is what lets a stream move a free page of its own before the queue has
// passed its last free. Work queued from now on finds the memory at its new place,
// in the stream's order; work queued before still goes through the old one, which
// therefore stays mapped. Only for others is a page free no sooner than its marks.

// parted is a place that its pages have left early.
type parted struct {
	block *Block
	run   PageRun
	stamp uint64 // the place is free once the queue has passed this
}

// part makes b, in no list, a place that was left.
func (h *Heap) part(b *Block, run PageRun, stamp uint64) {
	b.state = parting
	run.Early = false
	h.parting = append(h.parting, &parted{b, run, stamp})
}

// youngest is when, by the heap's clock, the last of the pages was freed.
func youngest(pages []freePage) (stamp uint64) {
	for _, f := range pages {
		stamp = max(stamp, f.page.stamp)
	}
	return stamp
}

// Parted gives the places that no queued work goes through any more: the caller
// has them unmapped before anything else is mapped there. Their Pages are what
// lay there, and is the heap's no more, or is so elsewhere.
func (h *Heap) Parted() (runs []PageRun) {
	h.parting = slices.DeleteFunc(h.parting, func(p *parted) bool {
		if p.stamp > h.passed {
			return false
		}
		runs = append(runs, p.run)
		h.mergeHole(p.block)
		return true
	})
	return runs
}

// Parting reports whether there are places that Parted has still to give.
func (h *Heap) Parting() bool { return len(h.parting) > 0 }
