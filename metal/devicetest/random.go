package devicetest

import (
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

const (
	modelPages   = 12 // in each of the two ranges
	modelHandles = 10
)

// pageModel is what two ranges and some handles should look like: an array of
// pages for each range, walked in full for every question.
type pageModel struct {
	s     *subject
	base  int64 // taken before
	r     [2]metal.Range
	at    [2][modelPages]modelPage
	pages map[metal.Handle]int64
	order []metal.Handle // the keys of pages, by age
}

// modelPage is what is mapped at a page: part i of a handle, from 0.
type modelPage struct {
	h metal.Handle
	i int64
}

// checkRandomPages plays random calls, right and wrong, on the device and on the
// model, which must agree on what works.
func checkRandomPages(s *subject) {
	rapid.Check(s.TB, func(t *rapid.T) {
		m := &pageModel{s: s.with(t), pages: map[metal.Handle]int64{}}
		m.base = m.s.taken()
		t.Cleanup(m.abandon)
		for i := range m.r {
			m.r[i] = m.s.reserve(modelPages)
		}
		t.Repeat(map[string]func(*rapid.T){
			"create":  m.create,
			"release": m.release,
			"map":     m.mapSome,
			"unmap":   m.unmap,
			"":        m.agree,
		})
		m.giveAllBack()
	})
}

func (m *pageModel) mapped(h metal.Handle) bool {
	for r := range m.at {
		for _, p := range m.at[r] {
			if p.h == h {
				return true
			}
		}
	}
	return false
}

func (m *pageModel) pick(t *rapid.T) metal.Handle {
	if len(m.order) == 0 {
		t.Skip("no handles")
	}
	return rapid.SampledFrom(m.order).Draw(t, "handle")
}

func (m *pageModel) create(t *rapid.T) {
	if len(m.order) == modelHandles {
		t.Skip("enough handles")
	}
	n := rapid.Int64Range(1, 3).Draw(t, "pages")
	h := m.s.create(n)[0]
	require.NotContains(t, m.pages, h, "a handle that is in use")
	m.pages[h] = n
	m.order = append(m.order, h)
}

func (m *pageModel) release(t *rapid.T) {
	h := m.pick(t)
	err := m.s.pager.Release(h)
	if m.mapped(h) {
		require.ErrorIs(t, err, metal.ErrBusy)
		return
	}
	require.NoError(t, err)
	m.forget(h)
}

func (m *pageModel) forget(h metal.Handle) {
	delete(m.pages, h)
	for i, other := range m.order {
		if other == h {
			m.order = append(m.order[:i:i], m.order[i+1:]...)
			return
		}
	}
}

func (m *pageModel) mapSome(t *rapid.T) {
	r := rapid.IntRange(0, 1).Draw(t, "range")
	from := rapid.Int64Range(0, modelPages-1).Draw(t, "page")
	var hs []metal.Handle
	for range rapid.IntRange(1, 3).Draw(t, "handles") {
		hs = append(hs, m.pick(t))
	}

	after, page, ok := m.at[r], from, true
	seen := map[metal.Handle]bool{}
	for _, h := range hs {
		ok = ok && (m.s.info.Aliases || !m.mapped(h)) && !seen[h]
		seen[h] = true
		for i := range m.pages[h] {
			ok = ok && page < modelPages && after[page].h == 0
			if ok {
				after[page] = modelPage{h, i}
			}
			page++
		}
	}
	err := m.s.pager.Map(m.r[r], from*m.s.page, hs)
	if !ok {
		require.Error(t, err, "map %v at page %d over %v", hs, from, m.at[r])
		return
	}
	require.NoError(t, err, "map %v at page %d over %v", hs, from, m.at[r])
	m.at[r] = after
}

func (m *pageModel) unmap(t *rapid.T) {
	r := rapid.IntRange(0, 1).Draw(t, "range")
	from := rapid.Int64Range(0, modelPages-1).Draw(t, "from")
	to := rapid.Int64Range(from+1, modelPages).Draw(t, "to")

	whole, gaps := true, false
	for page := from; page < to; page++ {
		p := m.at[r][page]
		if p.h == 0 {
			gaps = true
			continue
		}
		first := page - p.i
		whole = whole && first >= from && first+m.pages[p.h] <= to
	}
	if whole && gaps {
		t.Skip("whether gaps can be unmapped is the device's choice")
	}
	err := m.s.pager.Unmap(m.r[r], from*m.s.page, (to-from)*m.s.page)
	if !whole {
		require.Error(t, err, "unmap pages %d to %d of %v", from, to, m.at[r])
		return
	}
	require.NoError(t, err, "unmap pages %d to %d of %v", from, to, m.at[r])
	clear(m.at[r][from:to])
}

func (m *pageModel) agree(t *rapid.T) {
	if m.s.meter == nil {
		return
	}
	want := m.base
	for _, n := range m.pages {
		want += n * m.s.page
	}
	require.Equal(t, want, m.s.taken(), "memory taken")
}

func (m *pageModel) giveAllBack() {
	m.eachMapped(m.s.unmap)
	m.s.release(m.order...)
	m.s.unreserve(m.r[:]...)
	require.Equal(m.s, m.base, m.s.taken(), "memory taken when all is given back")
	*m = pageModel{s: m.s}
}

func (m *pageModel) eachMapped(f func(r metal.Range, page, pages int64)) {
	for r := range m.at {
		for page, p := range m.at[r] {
			if p.h != 0 && p.i == 0 {
				f(m.r[r], int64(page), m.pages[p.h])
			}
		}
	}
}

// abandon gives back what a sequence that was cut short left, so that the next
// one finds a clean device.
func (m *pageModel) abandon() {
	m.eachMapped(func(r metal.Range, page, pages int64) { _ = m.s.pager.Unmap(r, page*m.s.page, pages*m.s.page) })
	for _, h := range m.order {
		_ = m.s.pager.Release(h)
	}
	for _, r := range m.r {
		if r.Size > 0 {
			_ = m.s.pager.Unreserve(r)
		}
	}
}

// checkRandomSegments takes and frees segments of random sizes.
func checkRandomSegments(s *subject) {
	most := s.info.Memory
	if s.info.MaxBuffer > 0 {
		most = s.info.MaxBuffer
	}
	most = min(most, s.info.Memory/16, 8<<20)
	rapid.Check(s.TB, func(t *rapid.T) {
		s := s.with(t)
		base := s.taken()
		var live []metal.Segment
		t.Cleanup(func() { // what a sequence that was cut short left
			for _, g := range live {
				_ = s.seg.Free(g)
			}
		})
		t.Repeat(map[string]func(*rapid.T){
			"alloc": func(t *rapid.T) {
				if len(live) == 8 {
					t.Skip("enough segments")
				}
				live = append(live, s.alloc(rapid.Int64Range(1, most).Draw(t, "size")))
			},
			"free": func(t *rapid.T) {
				if len(live) == 0 {
					t.Skip("no segments")
				}
				i := rapid.IntRange(0, len(live)-1).Draw(t, "segment")
				s.free(live[i])
				live = append(live[:i], live[i+1:]...)
			},
			"": func(t *rapid.T) {
				want := base
				var spans []span
				for _, g := range live {
					want += g.Size
					spans = append(spans, span{g.Addr, g.Size})
				}
				s.disjoint(spans)
				if s.meter != nil {
					require.Equal(t, want, s.taken(), "memory taken")
				}
			},
		})
		for ; len(live) > 0; live = live[1:] {
			s.free(live[0])
		}
		require.Equal(t, base, s.taken(), "memory taken when all is given back")
	})
}
