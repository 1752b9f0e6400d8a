package streams

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

// What the model does to get memory, and what it checks of it.

func (m *model) size() int64 {
	switch rapid.IntRange(0, 3).Draw(m.t, "kind") {
	case 0:
		return rapid.Int64Range(1, 4096).Draw(m.t, "size")
	case 1:
		return rapid.Int64Range(1, 200_000).Draw(m.t, "size")
	case 2: // few sizes, so that blocks are reused
		return 3000 * rapid.Int64Range(1, 4).Draw(m.t, "size")
	default:
		return rapid.Int64Range(1<<20-600, 3<<20).Draw(m.t, "size")
	}
}

func (m *model) Malloc(t *rapid.T) {
	m.t = t
	req := m.size()
	size := m.h.Round(req)
	if b := m.h.Malloc(size, req); b != nil {
		m.handedOut(b, size, req)
		return
	}
	m.plans = append(m.plans, m.plan(size, req))
	if len(m.plans) > 2 || rapid.Bool().Draw(t, "at once") {
		m.finish(len(m.plans) - 1)
	}
}

func (m *model) plan(size, req int64) *Plan {
	return m.h.Plan(size, req)
}

// MallocRoom asks for a block that can grow.
func (m *model) MallocRoom(t *rapid.T) {
	m.t = t
	req := m.size()
	p := m.h.PlanRoom(m.h.Round(req), req, rapid.Int64Range(1, 1<<20).Draw(t, "room"))
	if p == nil {
		t.Skip("no room on this device")
	}
	m.plans = append(m.plans, p)
	m.finish(len(m.plans) - 1)
}

// Grow extends a live block in place.
func (m *model) Grow(t *rapid.T) {
	m.t = t
	b := m.pick(t, func(b modelBlock) bool { return !b.left })
	for _, p := range m.plans {
		if p.grow == b {
			t.Skip("growing already")
		}
	}
	req := m.live[b].req + rapid.Int64Range(1, 300_000).Draw(t, "more")
	size := m.h.Round(req)
	if size == b.Size() {
		m.h.Resize(b, req)
		mb := m.live[b]
		mb.req = req
		m.live[b] = mb
		return
	}
	p := m.h.PlanGrow(b, m.live[b].gen, size, req)
	if p == nil {
		t.Skip("no space behind")
	}
	m.plans = append(m.plans, p)
	if rapid.Bool().Draw(t, "at once") {
		m.finish(len(m.plans) - 1)
	}
}

// grown books a grown block in the model.
func (m *model) grown(b *Block, old uint64, p *Plan) {
	if p.grow.Gen() != old || m.live[p.grow].size == 0 {
		if b != nil {
			m.t.Fatalf("a freed block has grown")
		}
		// The claim was freed at once: on pages of its own it is all cache.
		for a, pg := range m.pages {
			pg.cache = m.h.pageCacheForTest(a)
		}
		return
	}
	mb := m.live[p.grow]
	ext := modelBlock{addr: mb.addr + uintptr(mb.size), size: p.size}
	for _, o := range m.live {
		if o.overlaps(ext.addr, ext.size) {
			m.t.Fatalf("grew over another block")
		}
	}
	for a, pg := range m.pages {
		pg.cache -= min(ext.bytesIn(a, pg.size), pg.cache-m.pendingIn(a, pg.size))
	}
	mb.size, mb.req = mb.size+p.size, p.requested
	m.live[p.grow] = mb
	if b.Addr() != mb.addr || b.Size() != mb.size || b.Gen() != mb.gen {
		m.t.Fatalf("block at %#x of %d bytes after growing, want %+v", b.Addr(), b.Size(), mb)
	}
}

// FinishPlan commits or aborts one of the misses under way.
func (m *model) FinishPlan(t *rapid.T) {
	m.t = t
	if len(m.plans) == 0 {
		t.Skip("no plan")
	}
	m.finish(rapid.IntRange(0, len(m.plans)-1).Draw(t, "plan"))
}

func (m *model) finish(i int) {
	p := m.plans[i]
	m.plans = append(m.plans[:i], m.plans[i+1:]...)
	if rapid.IntRange(0, 4).Draw(m.t, "abort") == 0 {
		p.Abort()
		return
	}
	var rng metal.Range
	if n := p.Reserve + p.Segment; n > 0 {
		rng = m.addresses(n)
	}
	spans := []PageRun{{Range: rng, Size: p.Segment}}
	var pages []Page
	if p.Segment > 0 {
		pages = []Page{{Size: p.Segment}}
	} else {
		spans = p.Spans(rng)
		if SizeOf(spans) != p.Missing() {
			m.t.Fatalf("spans hold %d bytes, missing are %d", SizeOf(spans), p.Missing())
		}
		for _, r := range spans {
			for left := r.Size / m.pageSize; left > 0; {
				n := rapid.Int64Range(1, left).Draw(m.t, "pages as one")
				pages = append(pages, Page{Size: n * m.pageSize})
				left -= n
			}
		}
	}
	for i := range pages {
		m.nextH++
		pages[i].Handle = m.nextH
	}
	size, req := p.size, p.requested
	b := p.Commit(rng, pages)
	m.h.Pass(m.h.Clock())
	grew := p.growGen
	for _, r := range spans {
		for off := r.Offset; off < r.Offset+r.Size; pages = pages[1:] {
			m.mapped(r.Range.Addr+uintptr(off), pages[0].Size)
			off += pages[0].Size
		}
	}
	if p.grow != nil {
		m.grown(b, grew, p)
		return
	}
	m.handedOut(b, size, req)
}

func (m *model) mapped(addr uintptr, size int64) {
	for a, p := range m.pages {
		if a < addr+uintptr(size) && addr < a+uintptr(p.size) {
			m.t.Fatalf("page %#x mapped over page %#x", addr, a)
		}
	}
	m.pages[addr] = &modelPage{size: size}
}

// addresses gives an address range, one that was given back if there is any.
func (m *model) addresses(size int64) metal.Range {
	for i, r := range m.ranges {
		if r.Size == size {
			m.ranges = slices.Delete(m.ranges, i, i+1)
			return r
		}
	}
	r := metal.Range{Addr: m.nextAddr, Size: size}
	m.nextAddr += uintptr(size) + 1<<21
	return r
}

func (m *model) handedOut(b *Block, size, req int64) {
	if b.Size() != size || b.Requested() != req || !b.Live() {
		m.t.Fatalf("asked for %d (%d), got a block of %d (%d)", size, req, b.Size(), b.Requested())
	}
	nb := modelBlock{addr: b.Addr(), size: size, req: req, gen: b.Gen()}
	if l := (life{nb.addr, nb.gen}); m.born[l] {
		m.t.Fatalf("generation %d at %#x again", l.gen, l.addr)
	} else {
		m.born[l] = true
	}
	if b.Used() || len(b.Uses()) != 0 {
		m.t.Fatalf("a new block is used")
	}
	for _, o := range m.live {
		if o.overlaps(nb.addr, size) {
			m.t.Fatalf("block at %#x handed out twice", nb.addr)
		}
	}
	for _, o := range m.pending {
		if o.overlaps(nb.addr, size) {
			m.t.Fatalf("block at %#x handed out while pending", nb.addr)
		}
	}
	var onPages int64
	for a, p := range m.pages {
		n := nb.bytesIn(a, p.size)
		onPages += n
		pend := m.pendingIn(a, p.size)
		p.cache -= min(n, p.cache-pend)
	}
	if onPages != size {
		m.t.Fatalf("block at %#x: %d of %d bytes lie on pages", nb.addr, onPages, size)
	}
	m.live[b] = nb
}
