package streams

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// However often the heap is told the time, it knows how old a free page is to a
// fifth, and never takes it for older.
func TestAgesAreKept(t *testing.T) {
	const pageSize, tick, notes = 2 << 20, 1_000_000, 60_000 // a minute, a millisecond at a time
	d := newFake(pageSize)
	var now int64
	other := d.malloc(512)
	var bufs []*Block
	for range 12 {
		bufs = append(bufs, d.malloc(pageSize))
	}
	next := 0
	for i := range notes {
		if next < len(bufs) && i == 1<<next*25 {
			d.heap.Discard(bufs[next])
			next++
		}
		d.heap.Discard(other)
		other = d.malloc(512)
		now += tick
		d.heap.Note(now)
	}
	require.Equal(t, len(bufs), next)
	d.heap.Pass(d.heap.Clock())
	offers := Choose(d.heap.Offers(nil, false), []int64{int64(len(bufs)) * pageSize}) // the oldest first
	require.Len(t, offers, len(bufs))
	for i, o := range offers {
		at := int64(tick) * 25 << i
		age, known := float64(now-at), float64(now-o.Since)
		require.LessOrEqual(t, known, age, "freed at %d", at)
		require.GreaterOrEqual(t, known, 0.8*age-2*tick, "freed at %d", at)
	}
}
