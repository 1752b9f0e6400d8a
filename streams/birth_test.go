package streams

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

// No two lives at an address ever have the same generation, whatever structs
// come and go there: whoever remembers the one can't take a later one for it.
func TestLivesAtAnAddressDiffer(t *testing.T) {
	for _, pageSize := range []int64{0, 64 << 10} {
		d := newFake(pageSize)
		born := map[life]bool{}
		structs := map[uintptr]map[*Block]bool{} // that have stood at an address
		malloc := func(size int64) *Block {
			b := d.malloc(size)
			l := life{b.Addr(), b.Gen()}
			require.False(t, born[l], "%+v again", l)
			born[l] = true
			if structs[l.addr] == nil {
				structs[l.addr] = map[*Block]bool{}
			}
			structs[l.addr][b] = true
			return b
		}
		for i := range int64(200) {
			blocks := []*Block{malloc(512 * (1 + i%7)), malloc(1024 + 512*(i%5)), malloc(1536 + 512*(i%3))}
			for k := range blocks {
				d.heap.Discard(blocks[(k+int(i))%len(blocks)])
			}
			d.heap.Discard(malloc(4096 * (i%3 + 1)))
			if i%10 == 9 {
				d.clear()
			}
		}
		require.NoError(t, d.heap.Check())
		most := 0
		for _, s := range structs {
			most = max(most, len(s))
		}
		require.Greater(t, most, 1, "one struct has stood at each address: nothing was tested")
	}
}

// Of all who want to end a life one succeeds, from whatever goroutine.
func TestClaimOnce(t *testing.T) {
	const lives = 500_000
	b := &Block{}
	var wg, started sync.WaitGroup
	var won atomic.Int64
	started.Add(4)
	for range 4 {
		wg.Go(func() {
			started.Done()
			started.Wait()
			n := int64(0)
			for gen := b.Gen(); gen < lives; gen = b.Gen() {
				if b.Claim(gen) {
					n++
				}
			}
			won.Add(n)
		})
	}
	wg.Wait()
	require.EqualValues(t, lives, won.Load())
}

// The heap hears of a claim only with the free; before that it can be undone.
func TestUnclaim(t *testing.T) {
	d := newFake(64 << 10)
	b := d.malloc(4096)
	gen := b.Gen()
	require.True(t, b.Claim(gen))
	require.False(t, b.Claim(gen))
	require.True(t, b.Live())
	b.Unclaim(gen)
	require.Equal(t, gen, b.Gen())
	require.True(t, b.Claim(gen))
	d.heap.Free(b)
	require.False(t, b.Live())

	again := d.malloc(4096)
	require.Same(t, b, again)
	require.False(t, again.Claim(gen), "a stale claim ended the next life")
	d.heap.Discard(again)
	require.NoError(t, d.heap.Check())
}

// What was noted of a block's use is seen by everybody and gone with the free.
func TestUsed(t *testing.T) {
	d := newFake(64 << 10)
	b := d.malloc(4096)
	require.False(t, b.Used())
	b.Use(7)
	b.Use(8)
	b.Use(7)
	require.True(t, b.Used())
	require.Equal(t, []metal.Queue{7, 8}, b.Uses())
	d.heap.Discard(b)
	require.False(t, b.Used())
	again := d.malloc(4096)
	require.Same(t, b, again)
	require.False(t, again.Used())
	require.Empty(t, again.Uses())
}

// A block that is being freed does not grow, nor does the one that comes after it
// at its place, whether the free came before the plan was ready or before that
// was made.
func TestGrowEndsWithTheLife(t *testing.T) {
	for _, late := range []bool{false, true} {
		d := newFake(64 << 10)
		b := d.malloc(2 << 20)
		gen := b.Gen()
		if !late {
			require.True(t, b.Claim(gen))
		}
		p := d.heap.PlanGrow(b, gen, 3<<20, 3<<20)
		require.NotNil(t, p)
		if late {
			require.True(t, b.Claim(gen))
		}
		d.heap.Free(b)
		again := d.heap.Malloc(2<<20, 2<<20)
		require.Same(t, b, again)
		require.Nil(t, d.commit(p))
		require.EqualValues(t, 2<<20, again.Size())
		require.NoError(t, d.heap.Check())
	}
}
