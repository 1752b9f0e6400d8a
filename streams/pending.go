package streams

import "github.com/metalloc/metalloc/metal"

// queueWaits are the pending blocks that wait for one queue, in the order of
// their marks: a queue reaches its marks in order, so only the first is asked.
type queueWaits struct {
	queue metal.Queue
	fifo  []wait
	head  int // settled ones before it are cleared away now and then
}

// waiting are those not settled yet.
func (w *queueWaits) waiting() []wait { return w.fifo[w.head:] }

// settle takes the first n off.
func (w *queueWaits) settle(n int) {
	clear(w.fifo[w.head : w.head+n]) // no pointers to blocks that live on elsewhere
	w.head += n
	if 2*w.head >= len(w.fifo) {
		w.fifo = append(w.fifo[:0], w.fifo[w.head:]...)
		w.head = 0
	}
}

type wait struct {
	mark  metal.Mark
	block *Block
}

// FreeBehind takes back a live block that queued work may still use until every
// mark is reached. The caller has claimed it. Its bytes are cache at once; it is handed out again, and its
// pages given up, only after Settle has seen the marks.
func (h *Heap) FreeBehind(b *Block, marks []metal.Mark) {
	if len(marks) == 0 {
		h.Free(b)
		return
	}
	h.Free(b)
	h.quick.pop(b)
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
		if fifo := w.waiting(); len(fifo) > 0 {
			ms = append(ms, fifo[0].mark)
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
		fifo, n := w.waiting(), 0
		for n < len(fifo) && reached(fifo[n].mark) {
			b := fifo[n].block
			if b.waits--; b.waits == 0 {
				runs = append(runs, h.settled(b)...)
			}
			n++
		}
		if n > 0 {
			w.settle(n)
		}
	}
	return runs
}

func (h *Heap) settled(b *Block) []PageRun {
	h.fig.Pending -= b.size
	b.seg.eachShared(b, func(p *page, n int64) { p.pending -= n })
	if b.drop {
		b.drop = false
		h.dropping--
		return h.dropBlock(b)
	}
	h.quick.push(b)
	return nil
}

// Dropping reports whether a pending block is to be given back once settled.
func (h *Heap) Dropping() bool { return h.dropping > 0 }
