package streams

// window is a place for a block in free space and holes.
type window struct {
	node    *Block // the free block or hole in which it starts
	off     int64  // of the block
	size    int64
	missing int64 // bytes of pages without memory under it
	room    int64 // size of the whole run of free space and holes
}

func (w window) better(v window) bool {
	if w.missing != v.missing {
		return w.missing < v.missing
	}
	return w.room < v.room
}

// place finds where a block of size bytes costs the fewest new pages, and among
// equals fits best. Free blocks alone have been tried before: every window worth
// looking at touches a hole.
func (z *zone) place(size, pageSize int64) (best window, ok bool) {
	var r run
	for b := z.holes.head; b != nil; b = b.listNext {
		if !r.collect(b, size) {
			continue
		}
		for i, n := range r.nodes {
			for _, off := range [2]int64{n.off, n.end() - size} {
				if w, fits := r.window(i, off, size, pageSize); fits && (!ok || w.better(best)) {
					best, ok = w, true
				}
			}
		}
	}
	return best, ok
}

// run is a row of neighbours that are all free blocks or holes.
type run struct{ nodes []*Block }

func vacant(b *Block) bool { return b != nil && (b.state == free || b.state == hole) }

// collect gathers the run around the hole b. It says no when b is not the run's
// first hole (the run is looked at once) or the run is too small.
func (r *run) collect(b *Block, size int64) bool {
	r.nodes = r.nodes[:0]
	if p := b.prev; vacant(p) {
		if p.state == hole || vacant(p.prev) { // beyond a free block there is a hole
			return false
		}
		b = p
	}
	var total int64
	for ; vacant(b); b = b.next {
		r.nodes = append(r.nodes, b)
		total += b.size
	}
	return total >= size
}

// window measures the place [off, off+size) near node i.
func (r *run) window(i int, off, size, pageSize int64) (w window, ok bool) {
	start, last := r.nodes[0].off, r.nodes[len(r.nodes)-1].end()
	if off < start || off+size > last {
		return w, false
	}
	for r.nodes[i].off > off {
		i--
	}
	w = window{node: r.nodes[i], off: off, size: size, room: last - start}
	for ; i < len(r.nodes) && r.nodes[i].off < off+size; i++ {
		if n := r.nodes[i]; n.state == hole {
			from, to := max(off, n.off), min(off+size, n.end())
			w.missing += roundUp(to, pageSize) - from&^(pageSize-1)
		}
	}
	return w, true
}

// claim takes the window out of free space, rounded out to whole pages where it
// begins or ends in a hole.
func (h *Heap) claim(p *Plan, w window) {
	n := w.node
	h.unlist(n)
	from, to := w.off, w.off+w.size
	if n.state == hole {
		from &^= h.cfg.PageSize - 1
	}
	if n.off < from {
		rest := h.cut(n, from-n.off)
		rest.state = n.state
		h.relist(n)
		n = rest
	}
	kind := n.state
	for n.end() < to {
		m := n.next
		kind = m.state
		h.unlist(m)
		n.size += m.size
		h.unlink(m)
	}
	if kind == hole {
		to = roundUp(to, h.cfg.PageSize)
	}
	if n.end() > to {
		rest := h.cut(n, to-n.off)
		rest.state = kind
		h.relist(rest)
	}
	n.state = promised
	p.block, p.off, p.missing = n, w.off, w.missing
}

// unlist takes a free block or hole out of its list; relist puts it back.
func (h *Heap) unlist(b *Block) {
	if b.state == hole {
		b.seg.zone.holes.remove(b)
	} else {
		b.seg.zone.removeFree(b)
	}
}

func (h *Heap) relist(b *Block) {
	if b.state == hole {
		b.seg.zone.addHole(b)
	} else {
		b.seg.zone.addFree(b)
	}
}

// mergeHole joins b, which is in no list, with neighbouring holes.
func (h *Heap) mergeHole(b *Block) *Block {
	z := b.seg.zone
	if n := b.next; n != nil && n.state == hole {
		z.holes.remove(n)
		b.size += n.size
		h.unlink(n)
	}
	if p := b.prev; p != nil && p.state == hole {
		z.holes.remove(p)
		p.size += b.size
		h.unlink(b)
		b = p
	}
	z.addHole(b)
	return b
}
