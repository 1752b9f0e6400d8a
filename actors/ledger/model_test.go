package ledger

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// modelRow and model count the plain way.
type modelRow struct {
	s            *testStream
	active, peak int64
	reserved     int64
	reservedPeak int64
	mallocs      int64
	frees        int64
	requested    int64
	blocks       []int64
	final        *modelRow // as it was when the stream was closed
}

type modelSpan struct {
	p          Point
	start, top int64
}

type model struct {
	l     *Ledger
	rows  []*modelRow
	peak  int64
	spans []*modelSpan
	limit int64
}

func (m *model) active() (n int64) {
	for _, r := range m.rows {
		n += r.active
	}
	return n
}

func (m *model) reserved() (n int64) {
	for _, r := range m.rows {
		n += r.reserved
	}
	return n
}

func (m *model) malloced(r *modelRow, n int64) {
	r.active += n
	r.requested += n - waste
	r.mallocs++
	r.blocks = append(r.blocks, n)
	r.peak = max(r.peak, r.active)
	a := m.active()
	m.peak = max(m.peak, a)
	for _, s := range m.spans {
		s.top = max(s.top, a)
	}
}

func (m *model) freed(r *modelRow, i int) int64 {
	n := r.blocks[i]
	r.blocks = append(r.blocks[:i], r.blocks[i+1:]...)
	r.active -= n
	r.requested -= n - waste
	r.frees++
	return n
}

// check compares all that can be asked.
func (m *model) check(t *rapid.T) {
	active, reserved := m.active(), m.reserved()
	require.Equal(t, active, m.l.Active())
	require.Equal(t, Totals{
		Active: active, Peak: m.peak, Cache: reserved - active, Reserved: reserved,
	}, m.l.Totals())
	total, rows, _ := m.l.Snapshot()
	require.Equal(t, active, total.Active)
	require.Equal(t, m.peak, total.Peak)
	require.Equal(t, reserved, total.Reserved)
	var requested, buffers int64
	byID := map[uint64]int{}
	for i, r := range rows {
		byID[r.ID] = i
	}
	for _, r := range m.rows {
		requested += r.requested
		buffers += r.mallocs - r.frees
		want := r
		if r.final != nil {
			want = r.final
		} else {
			require.Equal(t, rows[byID[r.s.ID]].Figures, m.l.Figures(&r.s.Row))
			require.Equal(t, r.active, r.s.Active())
		}
		f := m.l.Figures(&r.s.Row)
		require.Equal(t, fmt.Sprint(want.active, want.peak, want.requested, want.reserved, want.reservedPeak, want.mallocs, want.frees),
			fmt.Sprint(f.Active, f.Peak, f.Requested, f.Reserved, f.ReservedPeak, f.Mallocs, f.Frees))
	}
	require.Equal(t, requested, total.Requested)
	require.Equal(t, buffers, total.Buffers)
	var sum int64
	for _, r := range rows {
		sum += r.Active
	}
	require.Equal(t, active, sum)
}

func (m *model) some(t *rapid.T, open bool) *modelRow {
	var rs []*modelRow
	for _, r := range m.rows {
		if !open || r.final == nil {
			rs = append(rs, r)
		}
	}
	if len(rs) == 0 {
		return nil
	}
	return rapid.SampledFrom(rs).Draw(t, "row")
}

// In program order, on one goroutine, the ledger says at each step what plain
// counting says, in whatever mode it is.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{l: New(), limit: noLimit}
		ids := uint64(0)
		opened := func() {
			ids++
			n := unit * rapid.Int64Range(0, 4000).Draw(t, "reserved")
			m.rows = append(m.rows, &modelRow{s: open(m.l, ids, n), reserved: n, reservedPeak: n})
		}
		opened()
		opened()
		size := rapid.Map(rapid.OneOf(rapid.Int64Range(1, 3), rapid.Int64Range(1, 500)), func(n int64) int64 { return n * unit })
		mallocs := func(r *modelRow, n int64) {
			if n <= r.reserved-r.active {
				r.s.malloc(n)
				m.malloced(r, n)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": m.check,
			"open": func(_ *rapid.T) {
				if len(m.rows) < 8 {
					opened()
				}
			},
			"malloc": func(t *rapid.T) {
				if r := m.some(t, true); r != nil {
					mallocs(r, size.Draw(t, "size"))
				}
			},
			"pairs": func(t *rapid.T) { // long enough for any change of mode
				r, q := m.some(t, true), m.some(t, true)
				if r == nil {
					return
				}
				n := size.Draw(t, "size")
				for range rapid.IntRange(1, 50).Draw(t, "times") {
					for _, x := range []*modelRow{r, q} {
						if n <= x.reserved-x.active {
							x.s.malloc(n)
							m.malloced(x, n)
							x.s.free(m.freed(x, len(x.blocks)-1))
						}
					}
				}
			},
			"free": func(t *rapid.T) {
				if r := m.some(t, false); r != nil && len(r.blocks) > 0 {
					n := m.freed(r, rapid.IntRange(0, len(r.blocks)-1).Draw(t, "block"))
					if rapid.Bool().Draw(t, "elsewhere") {
						r.s.leave(n)
					} else {
						r.s.free(n)
					}
				}
			},
			"grow": func(t *rapid.T) {
				if r := m.some(t, true); r != nil {
					n := unit * rapid.Int64Range(1, 4000).Draw(t, "more")
					r.s.reserve(n)
					r.reserved += n
					r.reservedPeak = max(r.reservedPeak, r.reserved)
				}
			},
			"give back": func(t *rapid.T) {
				if r := m.some(t, false); r != nil {
					before := r.s.f.Cache
					r.s.give(unit * rapid.Int64Range(1, 4000).Draw(t, "less"))
					r.reserved -= before - r.s.f.Cache
				}
			},
			"reset": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "all") {
					m.l.ResetPeak()
					m.peak = 0
				} else if r := m.some(t, true); r != nil {
					m.l.ResetPeakOf(&r.s.Row)
					r.peak = 0
				}
			},
			"begin": func(t *rapid.T) {
				if len(m.spans) < 4 {
					s := &modelSpan{start: m.active()}
					s.top = s.start
					require.Equal(t, s.start, m.l.Begin(&s.p))
					m.spans = append(m.spans, s)
				}
			},
			"end": func(t *rapid.T) {
				if len(m.spans) > 0 {
					i := rapid.IntRange(0, len(m.spans)-1).Draw(t, "span")
					s := m.spans[i]
					m.spans = append(m.spans[:i], m.spans[i+1:]...)
					active, peak := m.l.End(&s.p)
					require.Equal(t, m.active(), active)
					require.Equal(t, s.top, peak)
				}
			},
			"cache limit": func(t *rapid.T) {
				n := rapid.SampledFrom([]int64{noLimit, 0, 1 << 20}).Draw(t, "limit")
				previous, over := m.l.SetCacheLimit(n)
				require.Equal(t, m.limit, previous)
				require.Equal(t, m.reserved()-m.active()-n, over)
				m.limit = n
			},
			"close": func(t *rapid.T) {
				if r := m.some(t, true); r != nil && len(m.rows) > 2 {
					r.s.turn.Lock()
					r.s.takeUp()
					r.s.turn.Unlock()
					r.s.close()
					final := *r
					r.final = &final
				}
			},
		})
	})
}
