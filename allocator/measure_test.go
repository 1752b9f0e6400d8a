package allocator_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry"
)

// hold mallocs n bytes and frees them when the test asks.
func hold(t *testing.T, s *allocator.Stream, n int64) (free func()) {
	t.Helper()
	b, err := s.Malloc(ctx, n)
	require.NoError(t, err)
	return func() { require.NoError(t, b.Free()) }
}

func TestMeasure(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	a, b := newStream(t, rt), newStream(t, rt)
	hold(t, a, 100*page)() // a peak that no span reaches
	kept := hold(t, a, page)
	boom := errors.New("boom")
	type key struct{}
	outer, err := rt.Measure(context.WithValue(ctx, key{}, 7), "outer", func(ctx context.Context) error {
		require.Equal(t, 7, ctx.Value(key{}))
		hold(t, b, 4*page)()
		inner, err := rt.Measure(ctx, "inner", func(context.Context) error {
			hold(t, a, 2*page)()
			kept()
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, telemetry.Span{Name: "inner", Before: page, After: 0, Peak: 3 * page}, inner)
		hold(t, b, 3*page)()
		return boom
	})
	require.ErrorIs(t, err, boom)
	require.Equal(t, telemetry.Span{Name: "outer", Before: page, After: 0, Peak: 5 * page}, outer)
	require.EqualValues(t, 100*page, rt.PeakMemory(), "a span resets nothing")

	reset, err := rt.Measure(ctx, "", func(context.Context) error {
		hold(t, a, 2*page)()
		rt.ResetPeakMemory()
		hold(t, a, page)()
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 2*page, reset.Peak, "nor does a reset end one")
	require.EqualValues(t, page, rt.PeakMemory())
}

// Spans of several goroutines overlap; each has at least what its own goroutine
// held, and none more than all could hold.
func TestMeasureConcurrently(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	const goroutines = 8
	var wg sync.WaitGroup
	for g := range goroutines {
		s := newStream(t, rt)
		wg.Go(func() {
			for i := range 200 {
				own := int64(1+(g+i)%4) * page
				sp, err := rt.Measure(ctx, "step", func(ctx context.Context) error {
					b, err := s.Malloc(ctx, own)
					if err != nil {
						return err
					}
					return b.Free()
				})
				if err != nil || sp.Peak < own || sp.Peak < sp.Before || sp.Peak < sp.After || sp.Peak > 4*goroutines*page {
					t.Errorf("span %+v of %d bytes: %v", sp, own, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestMeasureOfNothing(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	_, err := rt.Measure(ctx, "x", nil)
	require.ErrorContains(t, err, `measure "x": expected a function`)
	require.PanicsWithValue(t, "mine", func() {
		_, _ = rt.Measure(ctx, "x", func(context.Context) error { panic("mine") })
	})
	sp, err := rt.Measure(nil, "x", func(ctx context.Context) error { return ctx.Err() }) //nolint:staticcheck // nil is allowed
	require.NoError(t, err)
	require.Equal(t, telemetry.Span{Name: "x"}, sp)
}
