package replay

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// run has a runner go through events from..to, one after the other.
func (p *pace) run(ctx context.Context, runner int, from, to int64) error {
	for next := from; next < to; next++ {
		if err := p.keep(ctx, runner); err != nil {
			return err
		}
		p.advance(runner, next+1)
	}
	return nil
}

func TestPaceStopsAtTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(2, 256)
		p.advance(1, 1)
		ended := make(chan error, 1)
		go func() { ended <- p.run(t.Context(), 1, 1, 1000) }()
		synctest.Wait()
		require.EqualValues(t, 257, p.runners[1].next.Load(), "256 after event 0 is the last to begin")

		p.advance(0, 128) // less than half the window is free: it sleeps on
		synctest.Wait()
		require.EqualValues(t, 257, p.runners[1].next.Load())
		p.advance(0, 129)
		synctest.Wait()
		require.EqualValues(t, 129+257, p.runners[1].next.Load())

		p.advance(0, finished)
		synctest.Wait()
		require.EqualValues(t, 1000, p.runners[1].next.Load())
		require.NoError(t, <-ended)
	})
}

func TestPaceWaitsForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(2, 256)
		arrived := make(chan error, 1)
		go func() { arrived <- p.await(t.Context(), 1, 0, 10) }()
		for _, next := range []int64{5, 9} {
			p.advance(0, next)
			synctest.Wait()
			require.Empty(t, arrived)
		}
		p.advance(0, 10)
		synctest.Wait()
		require.NoError(t, <-arrived)
		require.NoError(t, p.await(t.Context(), 1, 0, 10), "at once")
	})
}

func TestPaceEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(3, 4)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- p.run(ctx, 1, 0, 100) }()
		go func() { ended <- p.await(ctx, 2, 0, 1) }()
		synctest.Wait()
		require.Empty(t, ended)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.ErrorIs(t, <-ended, context.Canceled)
		require.ErrorIs(t, p.keep(ctx, 0), context.Canceled, "also where there is nothing to wait for")
	})
}

// Events dealt at random: nobody begins one outside the window, all are done.
func TestPaceAtRandom(t *testing.T) {
	const events, runners = 5000, 5
	for _, window := range []int64{0, 1, 7, 256} {
		deal := rand.New(rand.NewPCG(*seed, uint64(window)))
		parts := make([][]int64, runners)
		for event := range int64(events) {
			by := deal.IntN(runners)
			parts[by] = append(parts[by], event)
		}
		p := newPace(runners, window)
		for runner := range parts {
			p.advance(runner, parts[runner][0])
		}
		var all sync.WaitGroup
		for runner, part := range parts {
			all.Go(func() {
				for i, event := range part {
					if err := p.keep(t.Context(), runner); err != nil || event-p.least() > window {
						t.Errorf("seed %d: event %d began with %d not done, window %d: %v", *seed, event, p.least(), window, err)
					}
					next := int64(finished)
					if i+1 < len(part) {
						next = part[i+1]
					}
					p.advance(runner, next)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, finished, p.least())
	}
}
