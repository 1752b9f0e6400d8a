package allocator_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// alarms is a virtual clock that knows how many alarms are set. What an alarm does is
// over when Advance returns.
type alarms struct {
	metal.VirtualClock
	set, fired atomic.Int64
}

func (a *alarms) AfterFunc(d time.Duration, f func()) func() bool {
	a.set.Add(1)
	stop := a.VirtualClock.AfterFunc(d, func() {
		a.set.Add(-1)
		a.fired.Add(1)
		f()
	})
	return func() bool {
		if stop() {
			a.set.Add(-1)
			return true
		}
		return false
	}
}

// openIdle opens a runtime on a simulated device whose time the test moves.
func openIdle(t *testing.T, cfg sim.Config, opts ...allocator.Option) (*allocator.Runtime, *sim.Device, *alarms) {
	t.Helper()
	clock := &alarms{}
	rt, dev := openSim(t, cfg, append([]allocator.Option{allocator.WithClock(clock)}, opts...)...)
	return rt, dev, clock
}

func TestIdleMemoryGoesBack(t *testing.T) {
	for name, c := range map[string]struct {
		opts []allocator.Option
		at   time.Duration // it is back by then; 0: it is kept
	}{
		"by default": {nil, 1250 * time.Millisecond},
		"after 10 s": {[]allocator.Option{allocator.WithIdleRelease(10 * time.Second)}, 12500 * time.Millisecond},
		"at once":    {[]allocator.Option{allocator.WithIdleRelease(1)}, 100 * time.Millisecond},
		"never":      {[]allocator.Option{allocator.WithIdleRelease(0)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rt, _, clock := openIdle(t, sim.Config{}, c.opts...)
			s, other := newStream(t, rt), newStream(t, rt)
			kept := malloc(t, s, 3*page)
			free(t, malloc(t, s, 40*page), malloc(t, other, 60*page))
			for c.at > 0 && rt.ReservedMemory() > 3*page {
				clock.Advance(10 * time.Millisecond)
				require.LessOrEqual(t, clock.Now(), c.at)
			}
			clock.Advance(time.Hour)
			want := int64(103 * page)
			if c.at > 0 {
				want = 3 * page
			}
			require.Equal(t, want, rt.ReservedMemory())
			identity(t, rt)
			free(t, kept)
		})
	}
	_, err := allocator.Open(simDevice(t, sim.Config{}), allocator.WithIdleRelease(-time.Second))
	require.ErrorIs(t, err, allocator.ErrInvalidSize)
	require.ErrorContains(t, err, "-1s")
}

// There is a timer only while something may be idle, and none after Close. A stream
// that only hits and frees sets it all the same.
func TestNoTimerWhileNothingIsIdle(t *testing.T) {
	rt, _, clock := openIdle(t, sim.Config{})
	s := newStream(t, rt)
	require.Zero(t, clock.set.Load())
	a, b, beside := malloc(t, s, 8*page), malloc(t, s, page/4), malloc(t, s, page/4)
	clock.Advance(time.Minute)
	require.Zero(t, clock.set.Load(), "nothing is free")
	fired := clock.fired.Load()
	for range 100 {
		free(t, b)
		b = malloc(t, s, page/4)
	}
	clock.Advance(time.Minute)
	require.Equal(t, fired, clock.fired.Load(), "less than a page is nothing")
	free(t, a)
	eventually(t, func() bool { return clock.set.Load() == 1 })
	clock.Advance(2 * time.Second)
	require.EqualValues(t, page, rt.ReservedMemory())
	require.Zero(t, clock.set.Load())

	a = malloc(t, s, 8*page)
	clock.Advance(time.Minute)
	require.Zero(t, clock.set.Load())
	require.NoError(t, a.RecordUse(newStream(t, rt)))
	free(t, a)
	eventually(t, func() bool { return clock.set.Load() == 1 })
	free(t, b, beside)
	require.NoError(t, rt.Close(ctx))
	require.Zero(t, clock.set.Load())
}

// A free that finds its stream busy counts like any other.
func TestFreedFromOutsideIsIdleToo(t *testing.T) {
	rt, dev, clock := openIdle(t, sim.Config{})
	s := newStream(t, rt)
	bufs := make([]allocator.Buffer, 64)
	for i := range bufs {
		bufs[i] = malloc(t, s, page)
	}
	clock.Advance(time.Minute)
	require.Zero(t, clock.set.Load())
	done := make(chan error)
	for _, b := range bufs {
		go func() { done <- b.Free() }()
	}
	for range bufs {
		require.NoError(t, <-done)
	}
	eventually(t, func() bool { return clock.set.Load() == 1 })
	clock.Advance(3 * time.Second)
	require.Zero(t, rt.ReservedMemory())
	require.EqualValues(t, 64, dev.Calls()[sim.CallRelease])
}

// What queued work may still touch stays until the stream's queue has passed it.
func TestIdleMemoryWaitsForItsQueue(t *testing.T) {
	rt, dev, clock := openIdle(t, sim.Config{})
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s := newStream(t, rt, allocator.WithHandle(q.Handle()))
	b := malloc(t, s, 8*page)
	work := q.Submit()
	free(t, b)
	clock.Advance(time.Minute)
	require.EqualValues(t, 8*page, rt.ReservedMemory())
	require.EqualValues(t, 1, clock.set.Load())
	q.Complete(work)
	clock.Advance(2 * time.Second)
	require.Zero(t, rt.ReservedMemory())
}

// A program that needs memory now and then gives it back in vain once, and keeps it
// from then on; if it needs it seldom, it gives it back each time.
func TestPeriodicWorkKeepsItsMemory(t *testing.T) {
	for _, c := range []struct {
		period time.Duration
		grown  int64 // bursts that had to take memory from the device
	}{{500 * time.Millisecond, 1}, {5 * time.Second, 2}, {25 * time.Second, 2}, {10 * time.Minute, 50}} {
		t.Run(c.period.String(), func(t *testing.T) {
			rt, dev, clock := openIdle(t, sim.Config{})
			a, b := newStream(t, rt), newStream(t, rt)
			resident := malloc(t, a, 100*page)
			var grown int64
			for range 50 {
				before := dev.Calls()[sim.CallCreate]
				x, y := malloc(t, a, 20*page), malloc(t, b, 30*page)
				clock.Advance(100 * time.Millisecond)
				free(t, x, y)
				eventually(t, func() bool { return clock.set.Load() == 1 }) // set, maybe only now
				if dev.Calls()[sim.CallCreate] > before {
					grown++
				}
				clock.Advance(c.period - 100*time.Millisecond)
			}
			require.Equal(t, c.grown, grown)
			free(t, resident)
		})
	}
}

// A program that loads and then serves: what only loading needed goes back, although
// serving misses all the time and so takes the longest idle page again and again.
func TestPhases(t *testing.T) {
	for name, sizes := range map[string][]int64{
		"the same sizes": {4 * page},
		"many sizes":     {page / 3, page, 5 * page / 2, 4 * page, 7 * page, 9 * page / 4},
	} {
		t.Run(name, func(t *testing.T) {
			alone := serve(t, 0, sizes)
			after := serve(t, 500*page, sizes)
			t.Logf("reserved %d pages, %d without the first phase", after/page, alone/page)
			require.LessOrEqual(t, float64(after), 1.03*float64(alone))
		})
	}
}

// serve returns what is reserved in the end; before it serves it loads that much.
func serve(t *testing.T, load int64, sizes []int64) (reserved int64) {
	rt, _, clock := openIdle(t, sim.Config{})
	a, b := newStream(t, rt), newStream(t, rt)
	if load > 0 {
		var bufs []allocator.Buffer
		for range 50 {
			bufs = append(bufs, malloc(t, a, load/50))
			clock.Advance(50 * time.Millisecond)
		}
		free(t, bufs...)
	}
	weights := malloc(t, b, 100*page)
	var held []allocator.Buffer
	for i := range 3000 {
		s := a
		if i%3 == 0 {
			s = b
		}
		held = append(held, malloc(t, s, sizes[i*7%len(sizes)]))
		if len(held) > 10 {
			free(t, held[0])
			held = held[1:]
		}
		clock.Advance(10 * time.Millisecond)
	}
	reserved = rt.ReservedMemory()
	identity(t, rt)
	free(t, append(held, weights)...)
	return reserved
}

// crowded is a device of which others hold a part.
type crowded struct {
	*sim.Device
	others atomic.Int64
}

func (d *crowded) Usage() (metal.Usage, error) {
	u, err := d.Device.Usage()
	u.Available -= d.others.Load()
	return u, err
}

// When others have taken most of the device, what is free goes back however young;
// when we have, it doesn't.
func TestGivesBackToOthers(t *testing.T) {
	dev := &crowded{Device: simDevice(t, sim.Config{Memory: 1000 * page})}
	clock := &alarms{}
	rt := open(t, dev, allocator.WithClock(clock), allocator.WithIdleRelease(time.Hour), allocator.WithMemoryLimit(allocator.NoLimit))
	s := newStream(t, rt)
	free(t, malloc(t, s, 960*page))
	clock.Advance(time.Minute)
	require.EqualValues(t, 960*page, rt.ReservedMemory(), "it is all ours")
	_, err := rt.ClearCache()
	require.NoError(t, err)
	free(t, malloc(t, s, 100*page))
	dev.others.Store(849 * page)
	clock.Advance(time.Minute)
	require.EqualValues(t, 100*page, rt.ReservedMemory(), "51 pages are left")
	dev.others.Store(851 * page)
	clock.Advance(10 * time.Second)
	require.Zero(t, rt.ReservedMemory())
}

// A program that clears its cache in a loop is told so, once.
func TestClearCacheInALoop(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	rt, _, clock := openIdle(t, sim.Config{}, allocator.WithLogger(zap.New(core)))
	s := newStream(t, rt)
	loop := func(n int, pause time.Duration) {
		t.Helper()
		for range n {
			free(t, malloc(t, s, 8*page))
			_, err := rt.ClearCache()
			require.NoError(t, err)
			clock.Advance(pause)
		}
	}
	hints := func() []observer.LoggedEntry { return logs.FilterMessageSnippet("ClearCache").All() }
	loop(20, time.Second)
	require.Empty(t, hints())
	loop(100, 50*time.Millisecond)
	require.NoError(t, rt.Close(ctx))
	require.Len(t, hints(), 1)
	e := hints()[0]
	require.Equal(t, zap.WarnLevel, e.Level)
	fields := e.ContextMap()
	require.EqualValues(t, 10, fields["calls"])
	require.Equal(t, 500*time.Millisecond, fields["within"])
	require.EqualValues(t, 80*page, fields["released"])
	require.Positive(t, fields["device calls took"])
}
