package streams

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

// No two blocks of a heap ever live under the same generation: whoever remembers
// an address with it can't mistake a later block there for the older one.
func TestGenerationsAreUnique(t *testing.T) {
	h := New(Config{})
	born := map[uint64]bool{}
	malloc := func(size int64) *Block {
		b := h.Malloc(size, size)
		if b == nil {
			p := h.Plan(size, size)
			b = p.Commit(metal.Range{Addr: uintptr(1+len(born)) << 32, Size: p.Segment}, []metal.Handle{1})
		}
		require.False(t, born[b.Gen()], "generation %d again", b.Gen())
		born[b.Gen()] = true
		return b
	}
	for i := range int64(50) {
		a, b := malloc(512), malloc(1024+512*(i%5))
		h.Free(a)
		h.Free(b)
		h.Free(malloc(4096 * (i%3 + 1)))
	}
	require.NoError(t, h.Check())
}
