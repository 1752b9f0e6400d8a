package allocator_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/seam/simseam"
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
	cfg.HandleSize = page // whole pages go, whatever they came with
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

// large is a device whose handles hold several pages each.
type large struct{ *sim.Device }

func (d large) Info() metal.Info {
	i := d.Device.Info()
	i.HandleSize = 4 * page
	return i
}

// Pages of mixed sizes go back as well, when they are idle and when the system runs
// short of memory.
func TestGivesBackMixedPages(t *testing.T) {
	dev := large{simDevice(t, sim.Config{})}
	clock := &alarms{}
	rt := open(t, dev, allocator.WithClock(clock), allocator.WithReclaimOnPressure())
	s := newStream(t, rt)
	fill := func() {
		t.Helper()
		before := dev.Calls()[sim.CallCreate]
		free(t, malloc(t, s, 6*page), malloc(t, s, 3*page), malloc(t, s, page))
		require.Less(t, dev.Calls()[sim.CallCreate]-before, int64(10), "handles of several pages")
		require.EqualValues(t, 10*page, rt.ReservedMemory())
	}
	fill()
	kept := malloc(t, s, 3*page)
	clock.Advance(2 * time.Second)
	require.LessOrEqual(t, rt.CacheMemory(), int64(page), "a page that shares its handle with a live buffer")
	free(t, kept)
	eventually(t, func() bool { return clock.set.Load() == 1 })
	clock.Advance(10 * time.Second)
	require.Zero(t, rt.ReservedMemory())
	fill()
	dev.SetPressure(metal.Warn)
	eventually(t, func() bool { return rt.ReservedMemory() <= 5*page })
	dev.SetPressure(metal.Critical)
	eventually(t, func() bool { return rt.ReservedMemory() == 0 })
}

// Several streams that work while time passes, under a scheduler that draws every
// choice from a seed: the books add up, nothing is lost, Close ends everything, and a
// run can be repeated.
func TestGiveBackInSimulation(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	for seed := range uint64(100) {
		trace, gave := idling(t, sys, seed)
		again, _ := idling(t, sys, seed)
		require.Equal(t, trace, again, "seed %d: same seed, same run", seed)
		require.Positive(t, gave, "seed %d", seed)
	}
}

func idling(t *testing.T, sys *actors.System, seed uint64) (trace uint64, gave int64) {
	t.Helper()
	s := simseam.New(seed)
	s.Go(func() {
		var clock metal.VirtualClock
		rng := rand.New(rand.NewPCG(seed, 1))
		dev := simDevice(t, sim.Config{Clock: &clock})
		rt, err := allocator.Open(dev, allocator.WithSeam(s), allocator.WithActorSystem(sys), allocator.WithClock(&clock))
		require.NoError(t, err)
		workers := 3
		for range workers {
			q, err := dev.NewQueue()
			require.NoError(t, err)
			st := newStream(t, rt, allocator.WithHandle(q.Handle()))
			s.Go(func() {
				defer func() { workers-- }()
				for range 20 {
					b := malloc(t, st, int64(1+rng.IntN(4*page)))
					_, err := q.SubmitUntil(clock.Now() + time.Duration(rng.IntN(int(time.Second))))
					require.NoError(t, err)
					s.Yield()
					free(t, b)
				}
			})
		}
		for workers > 0 {
			clock.Advance(time.Duration(rng.IntN(int(time.Second))))
			identity(t, rt)
			s.Yield()
		}
		for range 100 { // in steps: what wakes the timer may only come to it later
			clock.Advance(time.Second)
			s.Yield()
		}
		gave = dev.Calls()[sim.CallRelease]
		require.Zero(t, rt.ReservedMemory(), "seed %d", seed)
		require.NoError(t, rt.Close(ctx))
		require.NoError(t, dev.Close())
	})
	within(t, func() { require.NoError(t, s.Run()) })
	return s.Trace(), gave
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

// What a look costs while 1,000 streams have something cached and do nothing.
func BenchmarkLookAtIdleStreams(b *testing.B) {
	dev, err := sim.New(sim.Config{})
	require.NoError(b, err)
	clock := &alarms{}
	rt, err := allocator.Open(dev, allocator.WithClock(clock), allocator.WithIdleRelease(100*time.Hour))
	require.NoError(b, err)
	for range 1000 {
		s, err := rt.NewStream()
		require.NoError(b, err)
		buf, err := s.Malloc(ctx, 8*page)
		require.NoError(b, err)
		require.NoError(b, buf.Free())
	}
	for b.Loop() {
		clock.Advance(10 * time.Second) // more than from one look to the next
	}
	require.GreaterOrEqual(b, clock.fired.Load(), int64(b.N))
	require.NoError(b, rt.Close(ctx))
	require.NoError(b, dev.Close())
}
