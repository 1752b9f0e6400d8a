package streams

// This file lets blocks grow in place. Room is address space behind a block that
// nobody else gets; it costs no memory. It begins where its block ends, maybe
// in the middle of a page that the block holds, and ends with a page.

// PlanRoom is Plan for a block with at least that many bytes of room behind it.
// Only devices that map pages can keep room; nil elsewhere.
func (h *Heap) PlanRoom(size, requested, roomBytes int64) *Plan {
	if h.cfg.PageSize == 0 || roomBytes > MaxBlock-size {
		return nil
	}
	h.flush()
	p := &Plan{heap: h, size: size, requested: requested, zone: 1, room: roomBytes}
	total := roundUp(size+roomBytes, h.cfg.PageSize)
	if b := h.smallestHole(total); b != nil {
		h.claim(p, window{node: b, off: b.off, size: total})
	} else {
		p.Reserve = h.chunkSize(h.zones[p.zone], total)
	}
	p.missing = roundUp(size, h.cfg.PageSize)
	return p
}

// smallestHole finds the best fitting hole among the large blocks' segments.
func (h *Heap) smallestHole(size int64) (best *Block) {
	if z := h.zones[1]; z != nil {
		for b := z.holes.head; b != nil; b = b.listNext {
			if b.size >= size && (best == nil || b.size < best.size) {
				best = b
			}
		}
	}
	return best
}

// PlanGrow claims what follows the block b, which lives under gen, so that it can
// grow to size bytes where it is. Nil: something else is in the way. size is more
// than b has.
func (h *Heap) PlanGrow(b *Block, gen uint64, size, requested int64) *Plan {
	h.flush()
	var roomEnd int64
	n := b.next
	if n != nil && n.state == room {
		roomEnd = n.end()
		n = h.dissolve(n)
	}
	p := &Plan{
		heap: h, size: size - b.size, requested: requested,
		zone: h.zoneIndex(b.seg.zone), grow: b, growGen: gen,
	}
	var r run
	fits := false
	if vacant(n) {
		for m := n; vacant(m); m = m.next {
			r.nodes = append(r.nodes, m)
		}
		var w window
		if w, fits = r.window(0, b.end(), p.size, b.seg.pageSize); fits {
			h.claim(p, w)
		}
	}
	if fits {
		n = p.block.next
		p.roomEnd = roomEnd
	}
	if vacant(n) && n.off < roomEnd {
		h.makeRoom(n, roomEnd)
	}
	if !fits {
		return nil
	}
	return p
}

// restoreRoom gives the room of a block that could not grow back to it.
func (h *Heap) restoreRoom(p *Plan) {
	if b := p.grow; b != nil && b.Gen() == p.growGen && b.end() < p.roomEnd && vacant(b.next) {
		h.makeRoom(b.next, p.roomEnd)
	}
}

func (h *Heap) zoneIndex(z *zone) int {
	if h.zones[0] == z {
		return 0
	}
	return 1
}

// dissolve makes room free space again: what lies on the block's last page is
// free, the rest a hole. It returns the first of the two.
func (h *Heap) dissolve(b *Block) *Block {
	b.state = promised
	p := b.seg.pageAt(b.off)
	if p == nil {
		return h.mergeHole(b)
	}
	if p.end() < b.end() {
		h.mergeHole(h.cut(b, p.end()-b.off))
	}
	return h.merge(b)
}

// makeRoom keeps vacant space as room, from first to end.
func (h *Heap) makeRoom(first *Block, end int64) {
	for n := first; n != nil && n.off < end; {
		h.unlist(n)
		if n.end() > end {
			rest := h.cut(n, end-n.off)
			rest.state = n.state
			h.relist(rest)
		}
		if n != first {
			first.size += n.size
			h.unlink(n)
		}
		n = first.next
	}
	h.keepRoom(first)
}

// keepRoom makes b, in no list, room of the block before it.
func (h *Heap) keepRoom(b *Block) {
	b.state = room
	b.prev.odd.Store(b.prev.odd.Load() | roomy)
}

// leaveRest puts what a claim has left over, behind its block, where it belongs.
func (h *Heap) leaveRest(p *Plan, rest *Block) {
	if n := rest.next; n != nil && n.state == room {
		rest.size += n.size
		h.unlink(n)
		h.keepRoom(rest)
		return
	}
	if p.room > 0 {
		h.keepRoom(rest)
		return
	}
	h.merge(rest)
}

// extend joins the finished claim c to the block that grows. If that life of it
// is over meanwhile, the claim becomes cache and the answer is nil.
func (h *Heap) extend(p *Plan, c *Block) *Block {
	b := p.grow
	if b.Gen() != p.growGen || b.next != c {
		h.Discard(h.handOut(c, 0))
		return nil
	}
	h.handOut(c, 0)
	s, joint := b.seg, b.end()
	b.size += c.size
	h.unlink(c)
	b.locate()
	if p := s.pageAt(joint - 1); joint != p.end() && p.within(b) {
		p.cache, p.slack = p.size, 0 // b's alone from now on
	}
	h.Resize(b, p.requested)
	return b
}

// Resize notes that the caller wants that many of b's bytes.
func (h *Heap) Resize(b *Block, requested int64) {
	h.fig.Requested += requested - b.requested
	b.requested = requested
}
