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
	born    map[life]bool
	over    []ended
	inbox   Inbox
	left    []*Block // in the inbox, in that order
	pending []modelBlock
	marks   map[metal.Queue]uint64 // reached so far
	seqs    map[metal.Queue]uint64
	pages   map[uintptr]*modelPage // by address
	ranges  []metal.Range          // given back: the device may use them again
	plans   []*Plan
}

type modelBlock struct {
	addr      uintptr
	size, req int64
	gen       uint64
	left      bool // claimed and left in the inbox
	marks     []metal.Mark
	drop      bool
}

// life is what nobody may ever see twice: a buffer is told from another one at
// the same address by its generation.
type life struct {
	addr uintptr
	gen  uint64
}

// ended is a life of a block that is over.
type ended struct {
	block *Block
	gen   uint64
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
		born:  map[life]bool{},
		marks: map[metal.Queue]uint64{},
		seqs:  map[metal.Queue]uint64{},
		pages: map[uintptr]*modelPage{},
	}
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

// pick draws a live block that is among those wanted.
func (m *model) pick(t *rapid.T, wanted func(modelBlock) bool) *Block {
	bs := make([]*Block, 0, len(m.live))
	for b, mb := range m.live {
		if wanted(mb) {
			bs = append(bs, b)
		}
	}
	if len(bs) == 0 {
		t.Skip("nothing live")
	}
	sort.Slice(bs, func(i, j int) bool { return m.live[bs[i]].addr < m.live[bs[j]].addr })
	return rapid.SampledFrom(bs).Draw(t, "block")
}

// Check is run by rapid after every step.
func (m *model) Check(t *rapid.T) {
	if err := m.h.Check(); err != nil {
		t.Fatal(err)
	}
	for _, e := range m.over {
		if e.block.Claim(e.gen) {
			t.Fatalf("generation %d was claimed twice", e.gen)
		}
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
			p := s.pageAt(int64(a - s.rng.Addr))
			for b := s.first; b != nil; b = b.next {
				if b.state == live && p.within(b) {
					return 0
				}
			}
			return p.cache
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
					"Free": m.Free, "Free2": m.Free, "Use": m.Use, "Leave": m.Leave, "Leave2": m.Leave, "FreeLeft": m.FreeLeft,
					"FinishPlan": m.FinishPlan, "MallocRoom": m.MallocRoom, "Grow": m.Grow, "Grow2": m.Grow,
					"Signal": m.Signal, "Settle": m.Settle,
					"TakeFree": m.TakeFree, "ReduceCache": m.ReduceCache, "Clear": m.Clear, "TakeRanges": m.TakeRanges,
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
	m.FreeLeft(t)
	for b := range m.live {
		m.h.Discard(b)
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
