package streams

import (
	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

// What the model does to give memory back, and what it checks of it.

func (m *model) Free(t *rapid.T) {
	m.t = t
	b := m.pick(t, func(b modelBlock) bool { return !b.left })
	m.claim(b)
	m.free(b)
}

// Use notes a queue on a live block.
func (m *model) Use(t *rapid.T) {
	m.t = t
	b := m.pick(t, func(modelBlock) bool { return true })
	b.Use(metal.Queue(rapid.IntRange(1, 3).Draw(t, "queue")))
	if !b.Used() {
		t.Fatalf("used, but does not know")
	}
}

// Leave claims a block and leaves it in the inbox, as another goroutine does.
func (m *model) Leave(t *rapid.T) {
	m.t = t
	b := m.pick(t, func(b modelBlock) bool { return !b.left })
	m.claim(b)
	if rapid.IntRange(0, 3).Draw(t, "unclaim") == 0 {
		m.over = m.over[:len(m.over)-1]
		b.Unclaim(m.live[b].gen)
		return
	}
	m.inbox.Push(b)
	m.left = append(m.left, b)
	mb := m.live[b]
	mb.left = true
	m.live[b] = mb
}

// FreeLeft frees what lies in the inbox.
func (m *model) FreeLeft(t *rapid.T) {
	m.t = t
	for b := m.inbox.Take(); b != nil; {
		next := b.Left()
		if len(m.left) == 0 || b != m.left[0] {
			t.Fatalf("the inbox gave another block than was left there first")
		}
		m.left = m.left[1:]
		m.free(b)
		b = next
	}
	if len(m.left) != 0 {
		t.Fatalf("%d blocks are lost", len(m.left))
	}
}

// claim ends the life of a block.
func (m *model) claim(b *Block) {
	gen := m.live[b].gen
	if b.Gen() != gen || !b.Claim(gen) {
		m.t.Fatalf("generation %d can't be claimed, the block is at %d", gen, b.Gen())
	}
	m.over = append(m.over, ended{b, gen})
}

// free gives a claimed block to the heap, behind marks or not.
func (m *model) free(b *Block) {
	t, mb := m.t, m.live[b]
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
		if m.pageSize == 0 {
			m.ranges = append(m.ranges, r.Range)
		}
		off := r.Offset
		for _, p := range r.Pages {
			a := r.Range.Addr + uintptr(off)
			if m.pages[a] == nil || m.pages[a].size != p.Size {
				m.t.Fatalf("gave up page %#x of %d bytes, there is %+v", a, p.Size, m.pages[a])
			}
			if n := m.liveIn(a, p.Size) + m.pendingIn(a, p.Size); n != 0 {
				m.t.Fatalf("gave up page %#x with %d bytes in use", a, n)
			}
			delete(m.pages, a)
			off += p.Size
		}
		if off != r.Offset+r.Size {
			m.t.Fatalf("run of %d bytes has pages of %d", r.Size, off-r.Offset)
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

// TakeRanges gives address ranges back that hold nothing.
func (m *model) TakeRanges(t *rapid.T) {
	m.t = t
	m.ranges = append(m.ranges, m.h.TakeRanges()...)
}
