package streams

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

// Held is a step of the model: what it sorts are all free bytes, and what it calls
// free is what can be given up.
func (m *model) Held(t *rapid.T) {
	held, f := m.h.Held(), m.h.Figures()
	require.Equal(t, f.Cache+f.Slack, held.Queued+held.Shared+held.Claimed+held.Free, "%+v of %+v", held, f)
	require.GreaterOrEqual(t, held.Queued, f.Pending)
	var free int64
	for _, f := range m.h.freePages(m.h.passed) {
		free += f.page.size
	}
	require.Equal(t, free, held.Free)
}

// Each reason by itself; pages of 2 MiB and a larger one.
func TestHeld(t *testing.T) {
	const page = 2 << 20
	d := newFake(page)
	h := d.heap
	half := d.malloc(page / 2)
	other := d.malloc(page / 2)
	h.Free(other)
	h.Pass(h.Clock())
	require.Equal(t, Held{Shared: page / 2}, h.Held())
	h.FreeBehind(half, []metal.Mark{{Queue: 1, Seq: 1}})
	require.Equal(t, Held{Queued: page}, h.Held(), "the rest of a page that a pending block lies on too")
	h.Settle(func(metal.Mark) bool { return true })
	require.Equal(t, Held{Queued: page}, h.Held(), "the stream's own queue has not passed it")
	h.Pass(h.Clock())
	require.Equal(t, Held{Free: page}, h.Held())
	p := h.Plan(3*page, 3*page)
	require.Equal(t, Held{Claimed: page}, h.Held())
	p.Abort()

	large := h.Plan(8*page, 8*page)
	large.Enter(metal.Range{}, []Page{{Handle: 99, Size: large.Missing()}})
	b := large.HandOut()
	require.Equal(t, Held{}, h.Held())
	h.Free(b)
	h.Pass(h.Clock())
	require.NotNil(t, h.Malloc(3*page, 3*page)) // a part of the large page; the small one stays free
	require.Equal(t, Held{Shared: 4 * page, Large: 4 * page, Free: page}, h.Held())
}
