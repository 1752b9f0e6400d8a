package streams

import (
	"math/bits"

	"github.com/metalloc/metalloc/metal"
)

// Plan is a miss: where its block will be, and the device work that is needed
// first. A plan is ended by exactly one of Commit and Abort.
type Plan struct {
	// Reserve is address space to reserve for a new segment, bytes; 0: the block
	// lies in a segment that exists. Paged devices only.
	Reserve int64
	// Segment is the size of the whole segment to take, bytes; 0 on paged devices.
	Segment int64

	heap      *Heap
	size      int64
	requested int64
	zone      int
	block     *Block // claimed; nil while the segment does not exist yet
	off       int64  // of the block proper: the claim is rounded out to whole pages
	missing   int64  // bytes of pages without memory under the block
	room      int64  // address space to keep behind it, bytes
	grow      *Block // what the claim extends; nil: it is a block of its own
	growGen   uint64 // its generation
	roomEnd   int64  // where its room ends; 0: it has none
}

// Missing is how many bytes of pages the block's place lacks. On a device that
// gives whole segments it is the segment's size.
func (p *Plan) Missing() int64 { return p.missing }

// Size is the block's, bytes.
func (p *Plan) Size() int64 { return p.size }

// Fresh reports whether the block's place has no memory at all yet.
func (p *Plan) Fresh() bool {
	if p.Segment > 0 {
		return true
	}
	page := p.heap.cfg.PageSize
	under := roundUp(p.off+p.size, page) - p.off&^(page-1)
	return p.grow == nil && p.missing == under
}

// Plan claims a place for a block that Malloc has missed.
func (h *Heap) Plan(size, requested int64) *Plan {
	h.flush()
	p := &Plan{heap: h, size: size, requested: requested, zone: h.zoneOf(size)}
	z := h.zones[p.zone]
	if h.cfg.PageSize == 0 {
		p.Segment = h.segmentSize(size)
		p.missing = p.Segment
		return p
	}
	if z != nil {
		if w, ok := z.place(size, h.cfg.PageSize); ok {
			h.claim(p, w)
		}
	}
	if p.block == nil {
		p.Reserve = h.chunkSize(z, size)
		p.missing = roundUp(size, h.cfg.PageSize)
	}
	return p
}

// PlanFit is Plan, but claims the best fitting free block where there is one; the
// plan then misses nothing.
func (h *Heap) PlanFit(size, requested int64) *Plan {
	h.flush()
	zi := h.zoneOf(size)
	if z := h.zones[zi]; z != nil {
		if b := z.fit(size); b != nil {
			z.removeFree(b)
			b = h.splitFree(b, size)
			b.state = promised
			return &Plan{heap: h, size: size, requested: requested, zone: zi, block: b, off: b.off}
		}
	}
	return h.Plan(size, requested)
}

// chunkSize doubles with each segment of a zone, so that a stream needs few
// however much it grows, and many small streams don't use up the address space.
func (h *Heap) chunkSize(z *zone, size int64) int64 {
	next := h.cfg.Chunk
	if size < SmallLimit {
		next /= 4
	}
	if z != nil {
		next = z.nextChunk
	}
	return roundUp(max(next, size), h.cfg.PageSize)
}

// segmentSize is what a miss takes from a device that can't map pages: small
// blocks share 2 MiB, medium ones 16 MiB, large ones come alone.
func (h *Heap) segmentSize(size int64) int64 {
	const small, medium = 2 << 20, 16 << 20
	n := int64(small)
	if size >= medium/2 {
		n = roundUp(size, small)
	} else if size >= SmallLimit {
		n = medium
	}
	if h.cfg.MaxSegment > 0 && n > h.cfg.MaxSegment {
		n = max(size, h.cfg.MaxSegment&^(h.cfg.Alignment-1))
	}
	return n
}

// Spans gives the address ranges to map, as offsets into the segment, in the
// order in which Commit expects the pages. rng is the new segment's range when
// the plan asked for one.
func (p *Plan) Spans(rng metal.Range) []PageRun {
	if p.Segment != 0 {
		return nil
	}
	page := p.heap.cfg.PageSize
	if p.block == nil {
		return []PageRun{{Range: rng, Offset: 0, Size: p.missing}}
	}
	s := p.block.seg
	var runs []PageRun
	for i, last := s.pageIndex(p.block.off), s.pageIndex(p.off+p.size-1); i <= last; i++ {
		off := i << s.shift
		if s.pageAt(off) != nil {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].Offset+runs[n-1].Size == off {
			runs[n-1].Size += page
			continue
		}
		runs = append(runs, PageRun{Range: s.rng, Offset: off, Size: page})
	}
	return runs
}

// Enter makes the pages that the device has mapped the heap's, and keeps the
// place claimed. On a paged device they fill the Spans one after the other, no page
// reaching from one span into the next; otherwise rng is the whole segment, pages
// the one that it is.
func (p *Plan) Enter(rng metal.Range, pages []Page) {
	if p.block == nil {
		p.claimNew(rng)
	}
	p.block = p.heap.enterPages(p, pages)
}

// Place is an entered plan's memory, which nobody has yet.
func (p *Plan) Place() (addr uintptr, size int64) { return p.block.Addr(), p.block.size }

// HandOut makes an entered plan's block live. A block that was to grow but has
// been freed meanwhile gives nil, and the claim becomes cache.
func (p *Plan) HandOut() *Block {
	h, b := p.heap, p.block
	p.block = nil
	if p.grow != nil {
		return h.extend(p, b)
	}
	return h.handOut(b, p.requested)
}

// Commit is Enter and HandOut.
func (p *Plan) Commit(rng metal.Range, pages []Page) *Block {
	p.Enter(rng, pages)
	return p.HandOut()
}

// claimNew opens the segment that the plan asked for and claims its start.
func (p *Plan) claimNew(rng metal.Range) {
	h := p.heap
	if p.Segment != 0 {
		s := h.addSegment(p.zone, rng, rng.Size, 63)
		s.first.state = promised
		p.block, p.off = s.first, 0
		return
	}
	s := h.addSegment(p.zone, rng, h.cfg.PageSize, uint(bits.TrailingZeros64(uint64(h.cfg.PageSize))))
	b := s.first
	if n := roundUp(p.size+p.room, h.cfg.PageSize); b.size > n {
		s.zone.addHole(h.cut(b, n))
	}
	b.state = promised
	p.block, p.off = b, 0
}

// enterPages gives the claimed pages their memory and cuts the claim down to the
// block proper.
func (h *Heap) enterPages(p *Plan, pages []Page) *Block {
	b := p.block
	s := b.seg
	end := p.off + p.size
	for off := s.pageIndex(b.off) << s.shift; off < end; {
		if pg := s.pageAt(off); pg != nil {
			off = pg.end()
			continue
		}
		pg := &page{off: off, size: pages[0].Size, cache: pages[0].Size, handle: pages[0].Handle}
		pg.fresh = pg.off < p.off || pg.end() > end
		pages = pages[1:]
		s.setPage(pg)
		h.fig.Cache += pg.size
		off = pg.end()
	}
	if b.off < p.off {
		r := h.cut(b, p.off-b.off)
		h.merge(b)
		b = r
	}
	if b.size > p.size {
		h.leaveRest(p, h.cut(b, p.size))
	}
	return b
}

// Abort gives the claimed place back after the device work failed. The Moves
// stay out of the heap.
func (p *Plan) Abort() {
	if p.block == nil {
		return
	}
	h, b := p.heap, p.block
	s := b.seg
	p.block = nil
	if n := b.next; n != nil && n.state == room { // it must not part from its block
		h.dissolve(n)
	}
	for b != nil {
		mapped, n := s.mappedRun(b)
		var rest *Block
		if n < b.size {
			rest = h.cut(b, n)
		}
		if mapped {
			h.merge(b)
		} else {
			h.mergeHole(b)
		}
		b = rest
	}
	h.restoreRoom(p)
}

// mappedRun tells whether b starts on mapped pages, and how many of its bytes
// are of that kind.
func (s *segment) mappedRun(b *Block) (mapped bool, n int64) {
	i := s.pageIndex(b.off)
	mapped = s.pageAt(b.off) != nil
	last := s.pageIndex(b.end() - 1)
	for i < last && (s.pageAt((i+1)<<s.shift) != nil) == mapped {
		i++
	}
	if i == last {
		return mapped, b.size
	}
	return mapped, (i+1)<<s.shift - b.off
}

func (h *Heap) addSegment(zi int, rng metal.Range, pageSize int64, shift uint) *segment {
	if h.quick == nil {
		h.quick = &quickStacks{}
	}
	z := h.zones[zi]
	if z == nil {
		z = &zone{}
		h.zones[zi] = z
	}
	const maxChunk = 64 << 30
	z.nextChunk = min(2*rng.Size, maxChunk)
	b := h.newBlock()
	s := &segment{rng: rng, zone: z, pageSize: pageSize, shift: shift, first: b}
	b.seg, b.off, b.size, b.state = s, 0, rng.Size, hole
	z.segs = append(z.segs, s)
	return s
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) &^ (unit - 1) }
