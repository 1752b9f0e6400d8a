package allocator_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

// Every byte that a buffer ever shows is zero until somebody writes it.
func TestGrowZeroes(t *testing.T) {
	rt := openHost(t, allocator.WithZero())
	s := newStream(t, rt)
	dirty := malloc(t, s, mib)
	fill(dirty, 0xff)
	free(t, dirty)

	first := malloc(t, s, 100)
	second, err := first.Grow(ctx, 300) // within what it takes anyway
	require.NoError(t, err)
	requireZeros(t, second.Bytes())
	third, err := second.Grow(ctx, 100*kib)
	require.NoError(t, err)
	requireZeros(t, third.Bytes())
	fill(third, 7)
	_, err = first.Grow(ctx, 50*kib)
	require.ErrorIs(t, err, allocator.ErrInvalidSize, "the old value is no way to make it smaller")
	fourth, err := first.Grow(ctx, 200*kib)
	require.NoError(t, err)
	for i, x := range fourth.Bytes()[:100*kib] {
		require.EqualValues(t, 7, x, "byte %d", i)
	}
	requireZeros(t, fourth.Bytes()[100*kib:])
	free(t, fourth)

	all := make([]allocator.Buffer, 3)
	require.NoError(t, s.MallocAll(ctx, []int64{700, 0, 3 * mib}, all))
	for _, b := range all {
		requireZeros(t, b.Bytes())
	}
	free(t, all...)
}

func fill(b allocator.Buffer, x byte) {
	for i := range b.Bytes() {
		b.Bytes()[i] = x
		if i > 1<<20 {
			break
		}
	}
}

func requireZeros(t *testing.T, bytes []byte) {
	t.Helper()
	for i, x := range bytes {
		if x != 0 {
			t.Fatalf("byte %d of %d is %d", i, len(bytes), x)
		}
	}
}

// The smaller copy can't shrink the books either.
func TestGrowByAnOldCopy(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	s := newStream(t, rt)
	first := malloc(t, s, 100)
	_, err := first.Grow(ctx, 500)
	require.NoError(t, err)
	_, err = first.Grow(ctx, 200)
	require.ErrorIs(t, err, allocator.ErrInvalidSize)
	require.EqualValues(t, 500, rt.Snapshot().Total.Requested)
	free(t, first)
}

func TestRefusedGrowKeepsItsRoom(t *testing.T) {
	for _, refusal := range []error{allocator.ErrLimitExceeded, allocator.ErrOutOfMemory} {
		rt, dev := openSim(t, sim.Config{Memory: 64 * mib, HandleSize: page}, allocator.WithPolicy(allocator.Refuse))
		s := newStream(t, rt)
		b, err := s.MallocWith(ctx, 100, allocator.MallocOptions{Room: 16 * mib})
		require.NoError(t, err)
		if errors.Is(refusal, allocator.ErrLimitExceeded) {
			_, err = rt.SetMemoryLimit(4 * mib)
			require.NoError(t, err)
		} else {
			dev.FailNext(sim.CallCreate, 3, nil)
			dev.FailNext(sim.CallCreate, 4, nil)
			dev.FailNext(sim.CallMap, 1, nil)
		}
		_, err = b.Grow(ctx, 9*mib)
		require.ErrorIs(t, err, refusal)
		require.EqualValues(t, 512, rt.ActiveMemory())
		_, err = rt.SetMemoryLimit(allocator.DefaultLimit)
		require.NoError(t, err)
		others := []allocator.Buffer{malloc(t, s, 5*mib), malloc(t, s, 8*mib), malloc(t, s, mib)}
		identity(t, rt)
		grown, err := b.Grow(ctx, 16*mib)
		require.NoError(t, err, "nobody else got the room")
		free(t, append(others, grown)...)
		require.NoError(t, rt.Close(ctx))
	}
}

// A Grow, and a malloc that nobody waits for any more, are no hits.
func TestHitsAreMallocs(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	s := newStream(t, rt)
	b, err := s.MallocWith(ctx, page, allocator.MallocOptions{Room: 8 * page})
	require.NoError(t, err)
	b, err = b.Grow(ctx, 3*page)
	require.NoError(t, err)
	c, cancel := context.WithCancel(ctx)
	returned := make(chan struct{})
	dev.Hook(func(sim.Call) { cancel(); <-returned })
	_, err = s.Malloc(c, 5*page)
	dev.Hook(nil)
	close(returned)
	if err == nil {
		t.Fatal("the ctx had ended")
	}
	require.ErrorIs(t, err, context.Canceled)
	eventually(t, func() bool { return rt.CacheMemory() == 5*page })
	eventually(t, func() bool { return rt.Snapshot().Total.Misses == 3 })
	total := rt.Snapshot().Total
	require.Zero(t, total.Hits)
	free(t, b, malloc(t, s, 5*page))
	require.EqualValues(t, 1, rt.Snapshot().Total.Hits)
}

// A buffer freed while it grows: what was to be added is cache, under the limits
// of cache, also when the stream has closed by then.
func TestFreeWhileGrowing(t *testing.T) {
	for name, meanwhile := range map[string]func(*allocator.Stream, allocator.Buffer) error{
		"free": func(_ *allocator.Stream, b allocator.Buffer) error { return b.Free() },
		"free, close": func(s *allocator.Stream, b allocator.Buffer) error {
			if err := b.Free(); err != nil {
				return err
			}
			return s.Close(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			rt, dev := openSim(t, sim.Config{}, allocator.WithCacheLimit(0))
			s := newStream(t, rt)
			b, err := s.MallocWith(ctx, page, allocator.MallocOptions{Room: 8 * page})
			require.NoError(t, err)
			arrived, goOn := make(chan struct{}), make(chan struct{})
			dev.Hook(func(c sim.Call) {
				if c == sim.CallCreate {
					dev.Hook(nil)
					close(arrived)
					<-goOn
				}
			})
			failed := make(chan error)
			go func() {
				_, err := b.Grow(ctx, 3*page)
				failed <- err
			}()
			<-arrived
			_, err = b.Grow(ctx, 4*page)
			require.ErrorIs(t, err, allocator.ErrBusy)
			done := make(chan error)
			go func() { done <- meanwhile(s, b) }()
			eventually(t, func() bool { return rt.ActiveMemory() == 0 })
			close(goOn)
			require.NoError(t, <-done)
			require.ErrorIs(t, <-failed, allocator.ErrDoubleFree)
			eventually(t, func() bool { return rt.ReservedMemory() == 0 })
			identity(t, rt)
		})
	}
}
