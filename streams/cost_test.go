package streams

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// The cached pair takes nothing from Go's heap, whatever the block lies on.
func TestPairAllocatesNothing(t *testing.T) {
	d := newFake(2 << 20)
	for _, size := range []int64{512, 4 << 10, 1 << 20, 2 << 20, 3 << 20, 8 << 20, 5<<20 + 512} {
		d.heap.Discard(d.malloc(size))
		n := testing.AllocsPerRun(100, func() {
			b := d.heap.Malloc(size, size)
			if b == nil || !b.Claim(b.Gen()) {
				t.Fatal("no hit")
			}
			d.heap.Free(b)
		})
		require.Zero(t, n, "size %d", size)
	}
}

// What a malloc and a free touch of a heap and of a block is one cache line each,
// and an idle heap, which is no more than the struct, costs little.
func TestSizes(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("counted for 64 bits")
	}
	const line = 64
	require.EqualValues(t, line, unsafe.Offsetof(Heap{}.cfg))
	require.EqualValues(t, line, unsafe.Offsetof(Block{}.stamp))
	require.Zero(t, unsafe.Sizeof(Heap{})%line, "Go's heap would not align it")
	const class = 2 * line // of Go's heap, aligned to itself; the next smaller one is 112
	require.Greater(t, unsafe.Sizeof(Block{}), uintptr(112))
	require.LessOrEqual(t, unsafe.Sizeof(Block{}), uintptr(class))
	var h *Heap
	require.Equal(t, 1, int(testing.AllocsPerRun(10, func() { h = New(Config{PageSize: 2 << 20}) })))
	require.LessOrEqual(t, unsafe.Sizeof(*h), uintptr(320))
}
