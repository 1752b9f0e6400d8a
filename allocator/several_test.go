package allocator_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

// A long list neither uses up the stack nor takes for ever.
func TestMallocAllManySizes(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	s := newStream(t, rt)
	sizes := make([]int64, 100_000)
	for i := range sizes {
		sizes[i] = int64(i % 5 * 300)
	}
	out := make([]allocator.Buffer, len(sizes)+1)
	guard := malloc(t, s, 7)
	out[len(sizes)] = guard
	for range 2 {
		within(t, func() { require.NoError(t, s.MallocAll(ctx, sizes, out)) })
		require.Equal(t, guard, out[len(sizes)], "not one more")
		var active int64
		for i, b := range out {
			if i < len(sizes) {
				require.Equal(t, sizes[i], b.Size())
			}
			active += b.Capacity()
		}
		require.Equal(t, active, rt.ActiveMemory())
		identity(t, rt)
		free(t, out[:len(sizes)]...)
	}
	require.Less(t, dev.Calls()[sim.CallMap], int64(60))
	free(t, guard)
}

func TestMallocAllOverflows(t *testing.T) {
	rt, _ := openSim(t, sim.Config{Memory: 1 << 46, AddressSpace: 1 << 50})
	s := newStream(t, rt)
	sizes := make([]int64, 1<<17+1)
	for i := range sizes {
		sizes[i] = 1 << 46
	}
	out := make([]allocator.Buffer, len(sizes))
	require.ErrorIs(t, s.MallocAll(ctx, sizes, out), allocator.ErrTooLarge)
}

// A list that its stream's Close, a limit or a ctx cuts short leaves nothing
// behind: neither active nor out of reach.
func TestMallocAllCutShort(t *testing.T) {
	sizes := []int64{3 * mib, 100, 5 * mib, 7 * mib}
	for name, cut := range map[string]func(s *allocator.Stream, cancel func()) error{
		"stream closed": func(s *allocator.Stream, _ func()) error { return s.Close(ctx) },
		"ctx ended":     func(_ *allocator.Stream, cancel func()) error { cancel(); return nil },
		"stream's limit": func(s *allocator.Stream, _ func()) error {
			_, err := s.SetMemoryLimit(6 * mib)
			return err
		},
	} {
		for nth := 1; nth <= 4; nth++ {
			t.Run(name, func(t *testing.T) {
				rt, dev := openSim(t, sim.Config{}, allocator.WithPolicy(allocator.Refuse))
				s := newStream(t, rt)
				arrived, goOn := make(chan struct{}), make(chan struct{})
				calls := 0
				dev.Hook(func(c sim.Call) {
					if c != sim.CallMap {
						return
					}
					if calls++; calls == nth {
						close(arrived)
						<-goOn
					}
				})
				c, cancel := context.WithCancel(ctx)
				defer cancel()
				out := make([]allocator.Buffer, len(sizes))
				failed := make(chan error, 1)
				go func() { failed <- s.MallocAll(c, sizes, out) }()
				select {
				case <-arrived:
				case err := <-failed:
					require.NoError(t, err)
					free(t, out...)
					return // it needed fewer calls
				}
				done := make(chan error)
				go func() { done <- cut(s, cancel) }()
				if name != "stream closed" {
					require.NoError(t, <-done)
				} else {
					eventually(t, func() bool { return len(rt.Snapshot().Streams) == 1 })
				}
				close(goOn)
				if name == "stream closed" {
					require.NoError(t, <-done)
				}
				if err := <-failed; err == nil {
					free(t, out...)
				} else {
					require.Equal(t, make([]allocator.Buffer, len(sizes)), out)
				}
				eventually(t, func() bool { return rt.ActiveMemory() == 0 })
				identity(t, rt)
				if name != "stream closed" {
					require.NoError(t, rt.Close(ctx))
				}
				eventually(t, func() bool { return rt.ReservedMemory() == 0 })
			})
		}
	}
}

// Misses under way count against the stream's own limit at every moment.
func TestStreamLimitOfConcurrentMisses(t *testing.T) {
	rt, dev := openSim(t, sim.Config{}, allocator.WithPolicy(allocator.Refuse))
	s := newStream(t, rt, allocator.WithStreamMemoryLimit(8*mib))
	var refused, served int
	dev.Hook(func(sim.Call) {
		if r := s.ReservedMemory(); r > 8*mib {
			t.Errorf("the stream holds %d", r)
		}
	})
	for range 30 {
		results := make(chan allocator.Buffer)
		for range 4 {
			go func() {
				b, err := s.Malloc(ctx, 6*mib)
				if err != nil {
					b = allocator.Buffer{}
				}
				results <- b
			}()
		}
		var got []allocator.Buffer
		for range 4 {
			if b := <-results; b != (allocator.Buffer{}) {
				served++
				got = append(got, b)
			} else {
				refused++
			}
		}
		require.LessOrEqual(t, len(got), 1)
		free(t, got...)
		_, err := rt.ClearCache()
		require.NoError(t, err)
	}
	require.Positive(t, served)
	require.Positive(t, refused)
}

// A stream over its own limit gives up its own cache, whoever else is asked for
// the runtime's limit.
func TestStreamLimitTakesItsOwnCache(t *testing.T) {
	dev, err := sim.NewSegments(sim.Config{}) // where a miss can't use the stream's own pages
	require.NoError(t, err)
	rt := open(t, dev, allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(38*mib))
	s := newStream(t, rt, allocator.WithStreamMemoryLimit(10*mib))
	other := newStream(t, rt)
	free(t, malloc(t, other, 30*mib), malloc(t, s, 8*mib))
	free(t, malloc(t, s, 10*mib))
	require.EqualValues(t, 10*mib, s.ReservedMemory())
}

func TestStreamLimitsAreKeptOnAnError(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	s := newStream(t, rt, allocator.WithStreamMemoryLimit(8*mib), allocator.WithStreamCacheLimit(2*mib))
	previous, err := s.SetMemoryLimit(-5)
	require.ErrorIs(t, err, allocator.ErrInvalidSize)
	require.EqualValues(t, 8*mib, previous)
	previous, err = s.SetCacheLimit(-5)
	require.ErrorIs(t, err, allocator.ErrInvalidSize)
	require.EqualValues(t, 2*mib, previous)
}
