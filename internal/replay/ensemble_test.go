package replay

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

var seed = flag.Uint64("seed", rand.Uint64(), "of random histories")

// randomStory has blocks freed at any time, late or by another stream, or never.
func randomStory(r *rand.Rand, events, streams int) *story {
	s := newStory(make([]uint64, streams)...)
	for i := range s.Streams {
		s.Streams[i] = uint64(i)
	}
	owner := func(block int32) int32 {
		for _, e := range s.Events {
			if e.Block == block {
				return e.Stream
			}
		}
		return 0
	}
	var live, pending []int32
	take := func(from *[]int32) int32 {
		i := r.IntN(len(*from))
		block := (*from)[i]
		*from = append((*from)[:i], (*from)[i+1:]...)
		return block
	}
	by := func(block int32) int32 { // now and then another stream
		if r.IntN(10) == 0 {
			return int32(r.IntN(streams))
		}
		return owner(block)
	}
	for len(s.Events) < events {
		switch n := r.IntN(10); {
		case n < 5 || len(live) == 0:
			s.alloc(int32(r.IntN(streams)), 1+r.Int64N(100_000))
			live = append(live, int32(s.Mallocs-1))
		case n < 8:
			block := take(&live)
			stream := by(block)
			s.requested(block).on(stream).completed(block).on(stream)
		case n < 9:
			block := take(&live)
			s.requested(block).on(by(block))
			pending = append(pending, block)
		case len(pending) > 0:
			block := take(&pending)
			s.completed(block).on(by(block))
		default:
			s.foreign()
		}
	}
	return s
}

// requireSame checks what must not depend on how a history is played.
func requireSame(t *testing.T, want, got *Result) {
	t.Helper()
	require.Equal(t, []int{want.Events, want.Mallocs, want.Frees, want.Skipped}, []int{got.Events, got.Mallocs, got.Frees, got.Skipped})
	require.Equal(t, []int64{want.LiveEnd, want.PendingEnd, want.ActiveEnd}, []int64{got.LiveEnd, got.PendingEnd, got.ActiveEnd})
	var greatest, sum int64
	for i, s := range got.PerStream {
		require.Equal(t, want.PerStream[i].RequestedPeak, s.RequestedPeak)
		require.Equal(t, want.PerStream[i].ActivePeak, s.ActivePeak, "a stream has its mallocs and frees in order")
		greatest, sum = max(greatest, s.RequestedPeak), sum+s.RequestedPeak
	}
	require.LessOrEqual(t, greatest, got.RequestedPeak)
	require.LessOrEqual(t, got.RequestedPeak, sum)
}

func TestConcurrentIsAsSerial(t *testing.T) {
	t.Logf("seed %d", *seed)
	stories := map[string]*story{
		"nothing":    newStory(0, 1),
		"one stream": newStory(0).alloc(0, 1000).alloc(0, 5*mib).free(0).free(1),
		"freed by another stream": newStory(0, 1).
			alloc(0, 1000).alloc(1, 2000).free(0).on(1).alloc(0, 3000).free(1).on(0).alloc(1, 4000),
		"late, by three streams": newStory(0, 1, 2).
			alloc(0, 1000).requested(0).on(1).alloc(2, 500).completed(0).on(2).free(1).alloc(1, 7),
		"random": randomStory(rand.New(rand.NewPCG(*seed, 1)), 2000, 4),
	}
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			onDevices(t, func(t *testing.T, dev device) {
				want, err := Run(t.Context(), dev, &s.History)
				require.NoError(t, err)
				require.False(t, want.Concurrent)
				for _, window := range []int{0, 1, 10, DefaultWindow} {
					got, err := Config{Concurrent: true, Window: window}.Run(t.Context(), dev, &s.History)
					require.NoError(t, err)
					require.True(t, got.Concurrent)
					require.Equal(t, window, got.Window)
					requireSame(t, want, got)
					if window == 0 {
						require.Equal(t, want.RequestedPeak, got.RequestedPeak, "nothing is moved")
						require.Equal(t, want.ActivePeak, got.ActivePeak)
					}
				}
			})
		})
	}
}

// One goroutine's error ends the others, which have far to go.
func TestConcurrentError(t *testing.T) {
	s := newStory(0, 1)
	s.alloc(0, 48*mib)
	for range 10_000 {
		s.alloc(1, 512).free(int32(s.Mallocs - 1)).on(1)
	}
	s.alloc(0, 32*mib)
	onDevices(t, func(t *testing.T, dev device) {
		r, err := Config{Concurrent: true, Window: DefaultWindow}.Run(t.Context(), dev, &s.History)
		require.Nil(t, r)
		require.ErrorIs(t, err, allocator.ErrOutOfMemory)
		require.ErrorContains(t, err, "event 30001 (alloc of 33554432 bytes)")
	})
}

func TestConcurrentCancelled(t *testing.T) {
	dev, err := sim.New(sim.Config{Memory: 64 * mib})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	held := make(chan struct{})
	dev.Hook(func(c sim.Call) {
		if c == sim.CallCreate {
			cancel() // while a malloc waits for the device
			<-held
		}
	})
	// The goroutine that the error comes from has not waited for the device.
	s := newStory(0, 1).alloc(0, mib)
	for range 1000 {
		s.foreign()
	}
	s.alloc(1, mib)
	go func() {
		<-ctx.Done()
		close(held)
	}()
	_, err = Config{Concurrent: true, Window: 10}.Run(ctx, dev, &s.History)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, dev.Close())
}

func TestBadConfig(t *testing.T) {
	dev, err := sim.New(sim.Config{Memory: 64 * mib})
	require.NoError(t, err)
	s := newStory(0).alloc(0, 1).at(5)
	for _, c := range []struct {
		config Config
		want   error
	}{
		{Config{Concurrent: true, Window: -1}, allocator.ErrInvalidSize},
		{Config{Lag: -1}, allocator.ErrInvalidSize},
		{Config{Lag: 1}, allocator.ErrUnsupported},
	} {
		_, err := c.config.Run(t.Context(), dev, &s.History)
		require.ErrorIs(t, err, c.want)
	}
	require.NoError(t, dev.Close())
}
