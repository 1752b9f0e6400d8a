package streams

import "math/bits"

// Config is what a heap must know of its device.
type Config struct {
	PageSize   int64 // bytes, a power of two; 0: the device gives whole segments only
	Alignment  int64 // of blocks, bytes, a power of two; less than Unit counts as Unit
	MaxSegment int64 // largest whole segment, bytes; 0: no bound
	Chunk      int64 // address space reserved first for large blocks, bytes; 0: 1 GiB
}

// Figures are a heap's bytes. Reserved is their sum, Requested apart.
type Figures struct {
	Requested int64 // asked for by the callers of live blocks
	Active    int64 // in live blocks
	Cache     int64 // freed and kept, Pending included
	Pending   int64 // freed, marks not reached yet
	Slack     int64 // other free bytes of pages that hold live blocks
}

// Reserved is what the heap holds of the device, bytes.
func (f Figures) Reserved() int64 { return f.Active + f.Cache + f.Slack }

// Heap is one stream's memory. The zero Heap is not usable; an idle one costs
// little: tables are made with the first segment.
type Heap struct {
	cfg    Config
	align  int64
	fig    Figures
	clock  uint64 // counts frees: the age of a free page
	births uint64 // the highest generation given
	passed uint64 // frees up to this one lie behind the stream's own queue
	quick  *quickStacks
	zones  [2]*zone    // small, large
	spares list        // Block structs to use again
	last   *Block      // freed last
	pages  []pageGroup // what freePages lists, used again
	queues []*queueWaits

	dropping int // pending blocks that are to be given back once settled
}

// quickStacks keeps just freed blocks by class, unmerged, last in first out: a
// program that repeats itself finds the block it freed, still warm.
type quickStacks struct {
	tops [numClasses]*Block
	set  classSet // classes whose stack may hold something
	some bool
}

// New makes an empty heap.
func New(cfg Config) *Heap {
	if cfg.Chunk == 0 {
		cfg.Chunk = 1 << 30
	}
	return &Heap{cfg: cfg, align: max(cfg.Alignment, Unit)}
}

// Figures gives the heap's bytes now.
func (h *Heap) Figures() Figures { return h.fig }

// Clock counts the frees so far.
func (h *Heap) Clock() uint64 { return h.clock }

// Pass says that the stream's own queue has passed the point at which Clock was
// at. Blocks are reused on their own stream at once, in its order; a page is
// given up only when no work queued before its last free can touch it any more.
func (h *Heap) Pass(clock uint64) { h.passed = max(h.passed, clock) }

// Passed is the highest clock that Pass was told.
func (h *Heap) Passed() uint64 { return h.passed }

// Round gives the size that a block of size > 0 bytes takes, or 0 when it
// overflows what a heap can count.
func (h *Heap) Round(size int64) int64 {
	if size > MaxBlock {
		return 0
	}
	return (size + h.align - 1) &^ (h.align - 1)
}

func (h *Heap) zoneOf(size int64) int {
	if size < SmallLimit {
		return 0
	}
	return 1
}

// Malloc hands out a block of exactly size bytes, which Round has given, from
// what the heap holds; nil is a miss (see Plan).
func (h *Heap) Malloc(size, requested int64) *Block {
	if q := h.quick; q != nil {
		c := classOf(size)
		if b := q.tops[c]; b != nil && b.size == size {
			q.tops[c] = b.listNext
			b.listNext = nil
			h.handOut(b, requested)
			return b
		}
	}
	return h.mallocMerged(size, requested)
}

// mallocMerged looks among the merged blocks, then merges the quick ones and
// looks again. An exact fit is taken at once; before a larger block is split
// the quick ones are merged, since one of them may fit better.
func (h *Heap) mallocMerged(size, requested int64) *Block {
	z := h.zones[h.zoneOf(size)]
	if z == nil {
		return nil
	}
	b := z.fit(size)
	if (b == nil || b.size != size) && h.flush() {
		b = z.fit(size)
	}
	if b == nil {
		return nil
	}
	z.removeFree(b)
	h.splitFree(b, size)
	h.handOut(b, requested)
	return b
}

// handOut makes b live.
func (h *Heap) handOut(b *Block, requested int64) {
	h.birth(b)
	b.requested = requested
	h.fig.Requested += requested
	h.charge(b)
}

// birth makes b live under a generation that no other block of the heap ever had:
// structs come and go at an address, and a buffer must not be taken for an older
// one there.
func (h *Heap) birth(b *Block) {
	b.state = live
	h.births = max(h.births, b.gen) + 1
	h.births |= 1
	b.gen = h.births
}

// Free takes back a live block that no queued work can touch any more.
func (h *Heap) Free(b *Block) {
	h.takeBack(b)
	h.pushQuick(b)
}

// takeBack ends b's life as a live block; the caller says what becomes of it.
func (h *Heap) takeBack(b *Block) {
	if n := b.next; n != nil && n.state == room {
		h.dissolve(n)
	}
	h.fig.Requested -= b.requested
	h.discharge(b)
	b.gen++
	h.clock++
	b.stamp = h.clock
	b.uses = b.uses[:0]
	h.last = b
}

func (h *Heap) pushQuick(b *Block) {
	b.state = quick
	q, c := h.quick, classOf(b.size)
	if q.tops[c] == nil {
		q.set.add(c)
		q.some = true
	}
	b.listNext = q.tops[c]
	q.tops[c] = b
}

// flush merges all quick blocks with their free neighbours; it reports whether
// there were any.
func (h *Heap) flush() bool {
	q := h.quick
	if q == nil || !q.some {
		return false
	}
	merged := false
	for w := range q.set {
		for x := q.set[w]; x != 0; x &= x - 1 {
			c := w<<6 + bits.TrailingZeros64(x)
			b := q.tops[c]
			q.tops[c] = nil
			for b != nil {
				next := b.listNext
				b.listNext = nil
				b.seg.touch(b)
				h.merge(b)
				merged = true
				b = next
			}
		}
		q.set[w] = 0
	}
	q.some = false
	return merged
}

// touch notes on b's pages when b was freed.
func (s *segment) touch(b *Block) {
	for i, last := s.pageIndex(b.off), s.pageIndex(b.end()-1); i <= last; i++ {
		s.pages[i].stamp = max(s.pages[i].stamp, b.stamp)
	}
}

// merge joins b, which is in no list, with free neighbours and puts the result
// into its bin.
func (h *Heap) merge(b *Block) *Block {
	z := b.seg.zone
	if n := b.next; n != nil && n.state == free {
		z.removeFree(n)
		b.size += n.size
		h.unlink(n)
	}
	if p := b.prev; p != nil && p.state == free {
		z.removeFree(p)
		p.size += b.size
		h.unlink(b)
		b = p
	}
	z.addFree(b)
	return b
}

// splitFree cuts b, which is in no list, to size bytes; the rest becomes a free
// block.
func (h *Heap) splitFree(b *Block, size int64) {
	if b.size == size {
		return
	}
	b.seg.zone.addFree(h.cut(b, size))
}

// cut shortens b to size bytes and gives the rest as a block of its own, in no
// list and, so that no neighbour merges with it yet, claimed.
func (h *Heap) cut(b *Block, size int64) *Block {
	r := h.newBlock()
	r.seg, r.off, r.size, r.state = b.seg, b.off+size, b.size-size, claimed
	r.prev, r.next = b, b.next
	if b.next != nil {
		b.next.prev = r
	}
	b.next, b.size = r, size
	return r
}

// unlink takes b out of its segment and keeps the struct for later.
func (h *Heap) unlink(b *Block) {
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		b.seg.first = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	}
	b.prev, b.next, b.seg, b.state = nil, nil, nil, hole
	h.spares.push(b)
}

func (h *Heap) newBlock() *Block {
	if b := h.spares.head; b != nil {
		h.spares.remove(b)
		return b
	}
	return &Block{}
}
