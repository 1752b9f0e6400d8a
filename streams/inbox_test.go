package streams

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInboxKeepsTheOrder(t *testing.T) {
	d := newFake(64 << 10)
	var in Inbox
	require.Nil(t, in.Take())
	var left []*Block
	for range 5 {
		b := d.malloc(4096)
		require.True(t, b.Claim(b.Gen()))
		in.Push(b)
		left = append(left, b)
	}
	for b := in.Take(); b != nil; b = b.Left() {
		require.Same(t, left[0], b)
		left = left[1:]
	}
	require.Empty(t, left)
	require.Nil(t, in.Take())
}

// Of what many leave at once nothing is lost, and what one has left stays in its
// order.
func TestInboxLosesNothing(t *testing.T) {
	const goroutines, each = 4, 20_000
	var in Inbox
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			blocks := make([]Block, each)
			for i := range blocks {
				blocks[i].off, blocks[i].size = int64(g), int64(i)
				in.Push(&blocks[i])
			}
		})
	}
	var next [goroutines]int64
	total := 0
	take := func() {
		for b := in.Take(); b != nil; b = b.Left() {
			require.Equal(t, next[b.off], b.size)
			next[b.off]++
			total++
		}
	}
	left := make(chan struct{})
	go func() { wg.Wait(); close(left) }()
	for done := false; !done; {
		select {
		case <-left:
			done = true
		default:
		}
		take()
	}
	take()
	require.Equal(t, goroutines*each, total)
}

// Goroutines free each other's blocks while the owner hands them out again. Each
// life ends once; none is lost.
func TestInboxManyGoroutines(t *testing.T) {
	const goroutines, each = 4, 5000
	type buffer struct {
		b   *Block
		gen uint64
	}
	d := newFake(64 << 10)
	var in Inbox
	handed := make(chan buffer, 64)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for x := range handed {
				if !x.b.Claim(x.gen) {
					t.Errorf("generation %d was over", x.gen)
				}
				if x.b.Claim(x.gen) {
					t.Errorf("generation %d ended twice", x.gen)
				}
				in.Push(x.b)
			}
		})
	}
	freed := 0
	drain := func() {
		for b := in.Take(); b != nil; {
			next := b.Left()
			d.heap.Free(b)
			freed++
			b = next
		}
	}
	for i := range int64(goroutines * each) {
		b := d.malloc(512 * (1 + i*i%8))
		handed <- buffer{b, b.Gen()}
		drain()
	}
	close(handed)
	wg.Wait()
	drain()
	require.Equal(t, goroutines*each, freed)
	require.Zero(t, d.heap.Figures().Active)
	require.NoError(t, d.heap.Check())
}
