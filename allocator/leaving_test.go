package allocator_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

// Memory on its way back to the device is neither a reason to refuse nor a full
// device: whoever was refused because of it might wait for a free that never comes.
func TestMemoryOnItsWayBack(t *testing.T) {
	for name, cfg := range map[string]sim.Config{
		"limit":       {},
		"full device": {Memory: 8 * mib},
	} {
		for _, segments := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				dev, err := sim.NewSegments(cfg)
				require.NoError(t, err)
				var opened device = dev
				call := sim.CallFree
				if !segments {
					paged := simDevice(t, cfg)
					opened, dev, call = paged, paged.SegmentDevice, sim.CallRelease
				}
				opts := []allocator.Option{allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(8 * mib)}
				if name == "full device" {
					opts = []allocator.Option{allocator.WithMemoryLimit(allocator.NoLimit)}
				}
				rt := open(t, opened, opts...)
				s, other := newStream(t, rt), newStream(t, rt)
				free(t, malloc(t, s, 8*mib))
				arrived, goOn := make(chan struct{}), make(chan struct{})
				first := true
				dev.Hook(func(c sim.Call) {
					if c == call && first {
						first = false
						close(arrived)
						<-goOn
					}
				})
				cleared, got := make(chan error), make(chan error, 1)
				go func() {
					_, err := rt.ClearCache()
					cleared <- err
				}()
				<-arrived
				var b allocator.Buffer
				go func() {
					var err error
					b, err = other.Malloc(ctx, 8*mib)
					got <- err
				}()
				for range 1000 { // it gets as far as it can
					_ = rt.ActiveMemory()
					runtime.Gosched()
				}
				close(goOn)
				require.NoError(t, <-cleared)
				require.NoError(t, <-got)
				free(t, b)
				identity(t, rt)
			})
		}
	}
}

// What the device won't take back does not keep a malloc waiting.
func TestMemoryThatDoesNotGoBack(t *testing.T) {
	rt, dev := openSim(t, sim.Config{}, allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(8*mib))
	s := newStream(t, rt)
	free(t, malloc(t, s, 2*mib))
	for n := 1; n <= 8; n++ {
		dev.FailNext(sim.CallRelease, n, allocator.ErrDeviceLost)
	}
	_, err := rt.ClearCache()
	require.NoError(t, err)
	within(t, func() {
		_, err = s.Malloc(ctx, 8*mib)
		require.ErrorIs(t, err, allocator.ErrLimitExceeded)
	})
	for range 8 {
		_, _ = rt.ClearCache()
	}
	free(t, malloc(t, s, 8*mib))
}
