package streams

import "github.com/metalloc/metalloc/metal"

// queueWaits are the pending blocks that wait for one queue, in the order of
// their marks: a queue reaches its marks in order, so only the first is asked.
type queueWaits struct {
	queue metal.Queue
	fifo  []wait
}

type wait struct {
	mark  metal.Mark
	block *Block
}

// FreeBehind takes back a live block that queued work may still use until every
// mark is reached. Its bytes are cache at once; it is handed out again, and its
// pages given up, only after Settle has seen the marks.
func (h *Heap) FreeBehind(b *Block, marks []metal.Mark) {
	if len(marks) == 0 {
		h.Free(b)
		return
	}
	h.takeBack(b)
	b.state = pending
	b.waits = int32(len(marks))
	h.fig.Pending += b.size
	b.seg.eachShared(b, func(p *page, n int64) { p.pending += n })
	for _, m := range marks {
		q := h.waitsOn(m.Queue)
		q.fifo = append(q.fifo, wait{m, b})
	}
}

func (h *Heap) waitsOn(q metal.Queue) *queueWaits {
	for _, w := range h.queues {
		if w.queue == q {
			return w
		}
	}
	w := &queueWaits{queue: q}
	h.queues = append(h.queues, w)
	return w
}

// Pending reports whether any block waits for a mark.
func (h *Heap) Pending() bool { return h.fig.Pending != 0 }

// NextMarks gives, per queue, the mark that is waited for first.
func (h *Heap) NextMarks() []metal.Mark {
	var ms []metal.Mark
	for _, w := range h.queues {
		if len(w.fifo) > 0 {
			ms = append(ms, w.fifo[0].mark)
		}
	}
	return ms
}

// Settle makes the pending blocks reusable whose marks are all reached. The
// pages of those that ClearCache met while they were pending are given up and
// returned.
func (h *Heap) Settle(reached func(metal.Mark) bool) []PageRun {
	var runs []PageRun
	for _, w := range h.queues {
		n := 0
		for n < len(w.fifo) && reached(w.fifo[n].mark) {
			b := w.fifo[n].block
			if b.waits--; b.waits == 0 {
				runs = append(runs, h.settled(b)...)
			}
			n++
		}
		w.fifo = append(w.fifo[:0], w.fifo[n:]...)
	}
	return runs
}

func (h *Heap) settled(b *Block) []PageRun {
	h.fig.Pending -= b.size
	b.seg.eachShared(b, func(p *page, n int64) { p.pending -= n })
	if b.drop {
		b.drop = false
		return h.dropBlock(b)
	}
	h.pushQuick(b)
	return nil
}

// Dropping reports whether a pending block is to be given back once settled.
func (h *Heap) Dropping() bool {
	for _, w := range h.queues {
		for _, x := range w.fifo {
			if x.block.drop {
				return true
			}
		}
	}
	return false
}
