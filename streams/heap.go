package streams

// Config is what a heap must know of its device.
type Config struct {
	PageSize   int64 // bytes, a power of two; 0: the device gives whole segments only
	Alignment  int64 // of blocks, bytes, a power of two; less than Unit counts as Unit
	MaxSegment int64 // largest whole segment, bytes; 0: no bound
	Home       *Home // what the handles of blocks lead to; may be nil
	Aliases    bool  // a page can be mapped at several places at a time
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
	// The first cache line is what changes with every malloc and free.

	fig   Figures
	clock uint64 // counts frees: the age of a free page
	quick *quickStacks
	last  *Block // freed last

	cfg      Config     // never changes
	births   uint64     // the highest generation of a struct when it left its place
	passed   uint64     // frees up to this one lie behind the stream's own queue
	zones    [2]*zone   // small, large
	spares   list       // Block structs to use again
	pages    []freePage // what freePages lists, used again
	instants []instant  // in order
	parting  []*parted
	queues   []*queueWaits

	dropping int // pending blocks that are to be given back once settled

	_ [64]byte // to whole cache lines, so that Go's heap aligns it to one
}

const group = 8

// quickStacks keeps just freed blocks by class, unmerged, last in first out: a
// program that repeats itself finds the block it freed, still warm.
type quickStacks struct {
	tops [numClasses]*Block
	some [numClasses / group]bool // of so many neighbouring stacks each: one may hold something
}

// New makes an empty heap.
func New(cfg Config) *Heap {
	if cfg.Chunk == 0 {
		cfg.Chunk = 1 << 30
	}
	cfg.Alignment = max(cfg.Alignment, Unit)
	return &Heap{cfg: cfg}
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
	return roundUp(size, h.cfg.Alignment)
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
	q := h.quick
	if q == nil {
		return nil
	}
	c := classOf(size)
	b := q.tops[c]
	if b == nil || b.size != size {
		return h.mallocMerged(size, requested)
	}
	q.tops[c] = b.listNext
	b.state = live
	b.requested = requested
	h.fig.Requested += requested
	h.fig.Active += size
	switch b.lies {
	case within:
		h.chargePage(b.page, size)
	case alone:
		h.fig.Cache -= size
	case across:
		h.chargeAcross(b)
	}
	return b
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
	return h.handOut(h.splitFree(b, size), requested)
}

// handOut makes b live, in no list so far. Like all blocks it goes out over the
// top of its quick stack, but first it is noted where it lies.
func (h *Heap) handOut(b *Block, requested int64) *Block {
	b.locate()
	b.seg.eachShared(b, h.unfresh)
	h.quick.push(b)
	return h.Malloc(b.size, requested)
}

// Free takes back a live block that no queued work can touch any more. The
// caller has claimed it.
func (h *Heap) Free(b *Block) {
	if b.odd.Load() != 0 {
		h.tidy(b)
	}
	h.clock++
	b.stamp = h.clock
	h.fig.Requested -= b.requested
	h.fig.Active -= b.size
	switch b.lies {
	case within:
		h.dischargePage(b.page, b.size)
	case alone:
		h.fig.Cache += b.size
	case across:
		h.dischargeAcross(b)
	}
	h.quick.push(b)
	h.last = b
}

// tidy looks after what is odd about a block that is freed.
func (h *Heap) tidy(b *Block) {
	if n := b.next; n != nil && n.state == room {
		h.dissolve(n)
	}
	if b.uses != nil {
		*b.uses = (*b.uses)[:0]
	}
	b.odd.Store(0)
}

// Discard claims and frees a live block that nobody else knows.
func (h *Heap) Discard(b *Block) {
	b.Claim(b.Gen())
	h.Free(b)
}

// push puts b, which has been located, on top of its class.
func (q *quickStacks) push(b *Block) {
	b.state = quick
	c := b.class
	b.listNext = q.tops[c]
	q.tops[c] = b
	q.some[c/group] = true
}

// pop takes b off again that was pushed last.
func (q *quickStacks) pop(b *Block) { q.tops[b.class] = b.listNext }

// flush merges all quick blocks with their free neighbours; it reports whether
// there were any.
func (h *Heap) flush() bool {
	q := h.quick
	if q == nil {
		return false
	}
	merged := false
	for i, some := range q.some {
		if !some {
			continue
		}
		q.some[i] = false
		stacks := q.tops[i*group : (i+1)*group]
		for c, b := range stacks {
			if b == nil {
				continue
			}
			stacks[c] = nil
			for b != nil {
				next := b.listNext
				b.seg.touch(b)
				h.merge(b)
				merged = true
				b = next
			}
		}
	}
	return merged
}

// touch notes on b's pages when b was freed.
func (s *segment) touch(b *Block) {
	s.eachPage(b.off, b.end(), func(p *page) { p.stamp = max(p.stamp, b.stamp) })
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

// splitFree cuts size bytes out of b, which is in no list; the rest becomes a free
// block. They are cut off the end that leaves more of b's pages free.
func (h *Heap) splitFree(b *Block, size int64) *Block {
	if b.size == size {
		return b
	}
	if b.taken(b.end()-size, b.end()) < b.taken(b.off, b.off+size) {
		rest := h.cut(b, b.size-size)
		b.seg.zone.addFree(b)
		return rest
	}
	b.seg.zone.addFree(h.cut(b, size))
	return b
}

// taken is how many bytes of pages that are free now have a part in [from, to).
func (b *Block) taken(from, to int64) (n int64) {
	b.seg.eachPage(from, to, func(p *page) {
		if p.within(b) {
			n += p.size
		}
	})
	return n
}

// cut shortens b to size bytes and gives the rest as a block of its own, in no
// list and, so that no neighbour merges with it yet, promised.
func (h *Heap) cut(b *Block, size int64) *Block {
	r := h.newBlock()
	r.seg, r.off, r.size, r.state = b.seg, b.off+size, b.size-size, promised
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
	b.prev, b.next, b.seg, b.page, b.state = nil, nil, nil, nil, hole
	h.births = max(h.births, b.Gen())
	h.spares.push(b)
}

// newBlock gives a struct that stands for nothing yet. All that have stood where
// it will stand were unlinked, and every life there ended before that: its
// generation is above theirs.
func (h *Heap) newBlock() *Block {
	b := h.spares.head
	if b != nil {
		h.spares.remove(b)
	} else {
		b = &Block{}
		b.handle = Handle{b, h.cfg.Home}
	}
	b.gen.Store(h.births + 1)
	return b
}

// Now is the heap's bytes where they are kept: they change with the next call.
func (h *Heap) Now() *Figures { return &h.fig }
