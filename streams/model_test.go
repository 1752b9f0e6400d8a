package streams

import (
	"fmt"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

// model drives a heap with random operations and keeps, in the plainest way,
// what must be true: which bytes are live or pending, which pages have memory,
// and how each page's free bytes divide into cache and slack.
type model struct {
	t        *rapid.T
	h        *Heap
	pageSize int64 // 0: whole segments
	nextAddr uintptr
	nextH    metal.Handle

	live    map[*Block]modelBlock
	gens    map[*Block]uint64
	pending []modelBlock
	marks   map[metal.Queue]uint64 // reached so far
	seqs    map[metal.Queue]uint64
	pages   map[uintptr]*modelPage // by address
	plans   []*Plan
}

type modelBlock struct {
	addr      uintptr
	size, req int64
	marks     []metal.Mark
	drop      bool
}

type modelPage struct {
	size, cache int64
}

func (b modelBlock) overlaps(addr uintptr, size int64) bool {
	return b.addr < addr+uintptr(size) && addr < b.addr+uintptr(b.size)
}

func (b modelBlock) bytesIn(addr uintptr, size int64) int64 {
	lo, hi := max(b.addr, addr), min(b.addr+uintptr(b.size), addr+uintptr(size))
	if hi <= lo {
		return 0
	}
	return int64(hi - lo)
}

func newModel(t *rapid.T, pageSize int64) *model {
	return &model{
		t: t, pageSize: pageSize, nextAddr: 1 << 30,
		h:     New(Config{PageSize: pageSize, Chunk: 8 << 20, MaxSegment: 64 << 20}),
		live:  map[*Block]modelBlock{},
		gens:  map[*Block]uint64{},
		marks: map[metal.Queue]uint64{},
		seqs:  map[metal.Queue]uint64{},
		pages: map[uintptr]*modelPage{},
	}
}

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
	p := m.h.Plan(size, req)
	m.take(p.Moves)
	return p
}

// MallocRoom asks for a block that can grow.
func (m *model) MallocRoom(t *rapid.T) {
	m.t = t
	req := m.size()
	p := m.h.PlanRoom(m.h.Round(req), req, rapid.Int64Range(1, 1<<20).Draw(t, "room"))
	if p == nil {
		t.Skip("no room on this device")
	}
	m.take(p.Moves)
	m.plans = append(m.plans, p)
	m.finish(len(m.plans) - 1)
}

// Grow extends a live block in place.
func (m *model) Grow(t *rapid.T) {
	m.t = t
	b := m.pick(t)
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
	p := m.h.PlanGrow(b, size, req)
	if p == nil {
		t.Skip("no space behind")
	}
	m.take(p.Moves)
	m.plans = append(m.plans, p)
	if rapid.Bool().Draw(t, "at once") {
		m.finish(len(m.plans) - 1)
	}
}

// grown books a grown block in the model.
func (m *model) grown(b *Block, old uint64, p *Plan) {
	if p.grow.gen != old || m.live[p.grow].size == 0 {
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
	if b.Addr() != mb.addr || b.Size() != mb.size || b.Gen() != m.gens[b] {
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
		rng = metal.Range{Addr: m.nextAddr, Size: n}
		m.nextAddr += uintptr(n) + 1<<21
	}
	var handles []metal.Handle
	var fresh []PageRun
	if p.Segment > 0 {
		m.nextH++
		handles = append(handles, m.nextH)
		fresh = []PageRun{{Range: rng, Size: p.Segment}}
	} else if m.pageSize > 0 {
		fresh = p.Spans(rng)
		if SizeOf(fresh) != p.Missing() {
			m.t.Fatalf("spans hold %d bytes, missing are %d", SizeOf(fresh), p.Missing())
		}
		for range p.Missing() / m.pageSize {
			m.nextH++
			handles = append(handles, m.nextH)
		}
	}
	size, req := p.size, p.requested
	b := p.Commit(rng, handles)
	m.h.Pass(m.h.Clock())
	grew := p.growGen
	for _, r := range fresh {
		step := m.pageSize
		if step == 0 {
			step = r.Size
		}
		for off := int64(0); off < r.Size; off += step {
			a := r.Range.Addr + uintptr(r.Offset+off)
			if m.pages[a] != nil {
				m.t.Fatalf("page %#x mapped twice", a)
			}
			m.pages[a] = &modelPage{size: step}
		}
	}
	if p.grow != nil {
		m.grown(b, grew, p)
		return
	}
	m.handedOut(b, size, req)
}

func (m *model) handedOut(b *Block, size, req int64) {
	if b.Size() != size || b.Requested() != req || !b.Live() {
		m.t.Fatalf("asked for %d (%d), got a block of %d (%d)", size, req, b.Size(), b.Requested())
	}
	if b.Gen() <= m.gens[b] {
		m.t.Fatalf("generation %d after %d", b.Gen(), m.gens[b])
	}
	m.gens[b] = b.Gen()
	nb := modelBlock{addr: b.Addr(), size: size, req: req}
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

func (m *model) pendingIn(a uintptr, size int64) (n int64) {
	for _, b := range m.pending {
		n += b.bytesIn(a, size)
	}
	return n
}

func (m *model) liveIn(a uintptr, size int64) (n int64) {
	for _, b := range m.live {
		n += b.bytesIn(a, size)
	}
	return n
}

// pick draws a live block.
func (m *model) pick(t *rapid.T) *Block {
	if len(m.live) == 0 {
		t.Skip("nothing live")
	}
	bs := make([]*Block, 0, len(m.live))
	for b := range m.live {
		bs = append(bs, b)
	}
	sort.Slice(bs, func(i, j int) bool { return m.live[bs[i]].addr < m.live[bs[j]].addr })
	return rapid.SampledFrom(bs).Draw(t, "block")
}

func (m *model) Free(t *rapid.T) {
	m.t = t
	b := m.pick(t)
	mb := m.live[b]
	delete(m.live, b)
	for q := metal.Queue(1); q <= 3; q++ {
		if rapid.IntRange(0, 5).Draw(t, "used") == 0 {
			m.seqs[q]++
			mb.marks = append(mb.marks, metal.Mark{Queue: q, Seq: m.seqs[q]})
		}
	}
	before := m.h.Figures().Cache
	defer func() { m.h.Pass(m.h.Clock()) }()
	m.h.FreeBehind(b, mb.marks)
	if m.h.Figures().Cache < before+mb.size {
		t.Fatalf("freeing %d bytes raised the cache by %d", mb.size, m.h.Figures().Cache-before)
	}
	for a, p := range m.pages {
		p.cache += mb.bytesIn(a, p.size)
		if m.liveIn(a, p.size) == 0 {
			p.cache = p.size
		}
	}
	if len(mb.marks) > 0 {
		m.pending = append(m.pending, mb)
	}
}

// Signal lets a queue reach marks, without telling the heap.
func (m *model) Signal(t *rapid.T) {
	m.t = t
	q := metal.Queue(rapid.IntRange(1, 3).Draw(t, "queue"))
	m.marks[q] = min(m.seqs[q], m.marks[q]+uint64(rapid.IntRange(1, 5).Draw(t, "n")))
}

func (m *model) reached(k metal.Mark) bool { return m.marks[k.Queue] >= k.Seq }

func (m *model) Settle(t *rapid.T) {
	m.t = t
	runs := m.h.Settle(m.reached)
	var still, gone []modelBlock
	for _, b := range m.pending {
		all := true
		for _, k := range b.marks {
			all = all && m.reached(k)
		}
		if all {
			gone = append(gone, b)
		} else {
			still = append(still, b)
		}
	}
	m.pending = still
	m.take(runs)
	for _, b := range gone {
		if !b.drop {
			continue
		}
		for a, p := range m.pages {
			if m.liveIn(a, p.size) > 0 {
				p.cache -= min(b.bytesIn(a, p.size), p.cache-m.pendingIn(a, p.size))
			}
		}
	}
}

// take checks that pages given up were free, and forgets them.
func (m *model) take(runs []PageRun) {
	for _, r := range runs {
		step := m.pageSize
		if step == 0 {
			step = r.Size
		}
		if int64(len(r.Handles)) != r.Size/step {
			m.t.Fatalf("run of %d bytes has %d handles", r.Size, len(r.Handles))
		}
		for off := int64(0); off < r.Size; off += step {
			a := r.Range.Addr + uintptr(r.Offset+off)
			if m.pages[a] == nil {
				m.t.Fatalf("gave up page %#x, which has no memory", a)
			}
			if n := m.liveIn(a, step) + m.pendingIn(a, step); n != 0 {
				m.t.Fatalf("gave up page %#x with %d bytes in use", a, n)
			}
			delete(m.pages, a)
		}
	}
}

func (m *model) TakeFree(t *rapid.T) {
	m.t = t
	n := rapid.Int64Range(0, 4<<20).Draw(t, "bytes")
	before := m.h.Figures().Reserved()
	runs := m.h.TakeFree(n)
	m.take(runs)
	if got := before - m.h.Figures().Reserved(); got != SizeOf(runs) {
		t.Fatalf("took %d bytes, reserved fell by %d", SizeOf(runs), got)
	}
}

func (m *model) ReduceCache(t *rapid.T) {
	m.t = t
	n := rapid.Int64Range(0, 4<<20).Draw(t, "bytes")
	m.reduce(n, func() []PageRun { return m.h.ReduceCache(n) })
}

// reduce checks the sum only: which shared page loses how much is the heap's choice.
func (m *model) reduce(n int64, f func() []PageRun) {
	before := m.h.Figures()
	m.take(f())
	after := m.h.Figures()
	held := int64(0) // cache that can't be given up: on pages held by pending blocks and claims
	for a, p := range m.pages {
		if m.liveIn(a, p.size) > 0 {
			held += m.pendingIn(a, p.size)
		} else {
			held += p.size
		}
	}
	if want := max(held, before.Cache-n); after.Cache > want {
		m.t.Fatalf("cache %d after reducing %d by %d; %d is held", after.Cache, before.Cache, n, held)
	}
	for a, p := range m.pages {
		p.cache = m.h.pageCacheForTest(a)
	}
}

func (m *model) Clear(t *rapid.T) {
	m.t = t
	for i := range m.pending {
		m.pending[i].drop = true
	}
	m.reduce(1<<50, m.h.Clear)
	if len(m.pending) == 0 && len(m.plans) == 0 && m.h.Figures().Cache != 0 {
		t.Fatalf("cache is %d after Clear with nothing pending", m.h.Figures().Cache)
	}
}

// Check is run by rapid after every step.
func (m *model) Check(t *rapid.T) {
	if err := m.h.Check(); err != nil {
		t.Fatal(err)
	}
	var want Figures
	for _, b := range m.live {
		want.Active += b.size
		want.Requested += b.req
	}
	for _, b := range m.pending {
		want.Pending += b.size
	}
	for a, p := range m.pages {
		want.Cache += p.cache
		want.Slack += p.size - m.liveIn(a, p.size) - p.cache
	}
	if got := m.h.Figures(); got != want {
		t.Fatalf("figures %+v, model %+v", got, want)
	}
	var reserved int64
	for _, p := range m.pages {
		reserved += p.size
	}
	if want.Reserved() != reserved {
		t.Fatalf("active + cache + slack = %d, pages hold %d", want.Reserved(), reserved)
	}
}

// pageCacheForTest reads how many bytes of the page at that address are cache,
// where one block does not cover it alone.
func (h *Heap) pageCacheForTest(a uintptr) int64 {
	for _, z := range h.zones {
		if z == nil {
			continue
		}
		for _, s := range z.segs {
			if a < s.rng.Addr || a >= s.rng.Addr+uintptr(s.rng.Size) {
				continue
			}
			i := s.pageIndex(int64(a - s.rng.Addr))
			for b := s.first; b != nil; b = b.next {
				if b.state == live && b.off <= i<<s.shift && b.end() >= i<<s.shift+s.pageSize {
					return 0
				}
			}
			return s.pages[i].cache
		}
	}
	return -1
}

func TestHeapAgainstModel(t *testing.T) {
	for _, page := range []int64{64 << 10, 512 << 10, 2 << 20, 0} {
		t.Run(fmt.Sprintf("page=%d", page), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				m := newModel(rt, page)
				rt.Repeat(map[string]func(*rapid.T){
					"Malloc": m.Malloc, "Malloc2": m.Malloc, "Malloc3": m.Malloc,
					"Free": m.Free, "Free2": m.Free,
					"FinishPlan": m.FinishPlan, "MallocRoom": m.MallocRoom, "Grow": m.Grow, "Grow2": m.Grow, "Signal": m.Signal, "Settle": m.Settle,
					"TakeFree": m.TakeFree, "ReduceCache": m.ReduceCache, "Clear": m.Clear,
					"": m.Check,
				})
				m.end(rt)
			})
		})
	}
}

// end frees everything: nothing must stay but address ranges.
func (m *model) end(t *rapid.T) {
	m.t = t
	for len(m.plans) > 0 {
		m.finish(0)
	}
	for b := range m.live {
		m.h.Free(b)
	}
	m.h.Pass(m.h.Clock())
	clear(m.live)
	for q, s := range m.seqs {
		m.marks[q] = s
	}
	m.h.Settle(m.reached)
	m.pending = nil
	m.h.Clear()
	if f := m.h.Figures(); f != (Figures{}) {
		t.Fatalf("after freeing everything: %+v", f)
	}
	m.h.TakeRanges()
	for _, z := range m.h.zones {
		if z != nil && len(z.segs) != 0 {
			t.Fatalf("%d segments left", len(z.segs))
		}
	}
}
