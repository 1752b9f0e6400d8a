package allocator_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// MLX's contract, and ours: queries.
func TestQueries(t *testing.T) {
	rt, _ := openSim(t, sim.Config{HandleSize: page})
	a, b := newStream(t, rt, allocator.WithName("a")), newStream(t, rt, allocator.WithName("b"))
	type figures struct{ active, peak, cache, reserved int64 }
	var x, y allocator.Buffer
	for _, step := range []struct {
		what    string
		do      func()
		a, b, r figures
	}{
		{"nothing yet", func() {}, figures{}, figures{}, figures{}},
		{"a malloc is rounded to 512", func() { x = malloc(t, a, 1000) }, figures{1024, 1024, 0, page}, figures{}, figures{1024, 1024, 0, page}},
		{"streams count apart", func() { y = malloc(t, b, 3*page) }, figures{1024, 1024, 0, page}, figures{3 * page, 3 * page, 0, 3 * page}, figures{1024 + 3*page, 1024 + 3*page, 0, 4 * page}},
		{"a free adds to cache, and the page's slack", func() { free(t, x) }, figures{0, 1024, page, page}, figures{3 * page, 3 * page, 0, 3 * page}, figures{3 * page, 1024 + 3*page, page, 4 * page}},
		{"reset of one stream", func() { b.ResetPeakMemory() }, figures{0, 1024, page, page}, figures{3 * page, 0, 0, 3 * page}, figures{3 * page, 1024 + 3*page, page, 4 * page}},
		{"reset of the runtime", rt.ResetPeakMemory, figures{0, 1024, page, page}, figures{3 * page, 0, 0, 3 * page}, figures{3 * page, 0, page, 4 * page}},
		{"a free leaves the peak at 0", func() { free(t, y) }, figures{0, 1024, page, page}, figures{0, 0, 3 * page, 3 * page}, figures{0, 0, 4 * page, 4 * page}},
		{"from the next malloc on it follows", func() { x = malloc(t, b, 512) }, figures{0, 1024, page, page}, figures{512, 512, 2 * page, 3 * page}, figures{512, 512, 3 * page, 4 * page}}, // one page moved, its rest is slack
		{"clearing a stream turns what shares a page into slack", func() {
			n, err := b.ClearCache()
			require.NoError(t, err)
			require.EqualValues(t, 2*page, n)
		}, figures{0, 1024, page, page}, figures{512, 512, 0, page}, figures{512, 512, page, 2 * page}},
		{"clearing the runtime leaves cache 0", func() {
			n, err := rt.ClearCache()
			require.NoError(t, err)
			require.EqualValues(t, page, n)
		}, figures{0, 1024, 0, 0}, figures{512, 512, 0, page}, figures{512, 512, 0, page}},
		{"slack serves mallocs", func() { y = malloc(t, b, 1000) }, figures{0, 1024, 0, 0}, figures{1536, 1536, 0, page}, figures{1536, 1536, 0, page}},
		{"a free raises cache by its capacity", func() { free(t, y) }, figures{0, 1024, 0, 0}, figures{512, 1536, 1024, page}, figures{512, 1536, 1024, page}},
		{"a page without live blocks is cache as a whole", func() { free(t, x) }, figures{0, 1024, 0, 0}, figures{0, 1536, page, page}, figures{0, 1536, page, page}},
	} {
		step.do()
		was := figures{a.ActiveMemory(), a.PeakMemory(), a.CacheMemory(), a.ReservedMemory()}
		require.Equal(t, step.a, was, "a: %s", step.what)
		was = figures{b.ActiveMemory(), b.PeakMemory(), b.CacheMemory(), b.ReservedMemory()}
		require.Equal(t, step.b, was, "b: %s", step.what)
		was = figures{rt.ActiveMemory(), rt.PeakMemory(), rt.CacheMemory(), rt.ReservedMemory()}
		require.Equal(t, step.r, was, "runtime: %s", step.what)
		s := identity(t, rt)
		was = figures{s.Total.Active, s.Total.Peak, s.Total.Cache, s.Total.Reserved}
		require.Equal(t, step.r, was, step.what)
	}
}

// Setters return the limit before, resolved; a bad one changes nothing.
func TestSetters(t *testing.T) {
	const gib = 1 << 30
	// 80 GiB, of which 76 working set: min(1.5×76, 0.95×80) = 76 GiB.
	dev := &wirable{Device: simDevice(t, sim.Config{})}
	rt := open(t, dev)
	const memory = 76 * gib
	for _, l := range []struct {
		name  string
		set   func(int64) (int64, error)
		get   func() int64
		deflt int64
		over  int64 // what is too much; 0: nothing is
	}{
		{"memory", rt.SetMemoryLimit, rt.MemoryLimit, memory, 0},
		{"cache", rt.SetCacheLimit, rt.CacheLimit, memory, 0},
		{"wired", rt.SetWiredLimit, rt.WiredLimit, 0, dev.Info().WorkingSet + 1},
	} {
		t.Run(l.name, func(t *testing.T) {
			require.Equal(t, l.deflt, l.get())
			previous := l.deflt
			for _, n := range []int64{5 * gib, 0, 7, allocator.DefaultLimit, 1, allocator.NoLimit, allocator.DefaultLimit} {
				if l.over > 0 && n >= l.over {
					continue
				}
				got, err := l.set(n)
				require.NoError(t, err)
				require.Equal(t, previous, got, "set to %d", n)
				if previous = n; n == allocator.DefaultLimit {
					previous = l.deflt
				}
				require.Equal(t, previous, l.get())
			}
			bad := []int64{-1, math.MinInt64 + 1}
			if l.over > 0 {
				bad = append(bad, l.over, allocator.NoLimit)
			}
			for _, n := range bad {
				got, err := l.set(n)
				require.ErrorIs(t, err, allocator.ErrInvalidSize, "%d", n)
				require.Equal(t, previous, got, "the limit in force")
				require.Equal(t, previous, l.get())
			}
		})
	}
	lim := rt.Snapshot().Limits
	require.Equal(t, [3]int64{memory, memory, 0}, [3]int64{lim.Memory, lim.Cache, lim.Wired})
}

func TestDefaultLimits(t *testing.T) {
	for _, c := range []struct{ memory, workingSet, limit int64 }{
		{100 << 30, 80 << 30, 95 << 30},
		{100 << 30, 40 << 30, 60 << 30},
	} {
		rt, _ := openSim(t, sim.Config{Memory: c.memory, WorkingSet: c.workingSet})
		require.InDelta(t, c.limit, rt.MemoryLimit(), 1000)
		require.Equal(t, rt.MemoryLimit(), rt.CacheLimit())
		_, err := rt.SetMemoryLimit(1 << 30)
		require.NoError(t, err)
		_, err = rt.SetCacheLimit(allocator.DefaultLimit)
		require.NoError(t, err)
		require.EqualValues(t, 1<<30, rt.CacheLimit(), "the default is the memory limit")
	}
	rt, _ := openSim(t, sim.Config{}, allocator.WithMemoryLimit(5), allocator.WithCacheLimit(allocator.NoLimit))
	require.EqualValues(t, 5, rt.MemoryLimit())
	require.Equal(t, allocator.NoLimit, rt.CacheLimit())
}

func TestOpenRefuses(t *testing.T) {
	dev := simDevice(t, sim.Config{})
	for name, c := range map[string]struct {
		dev  metal.Device
		opt  allocator.Option
		want error
	}{
		"nil device":      {nil, allocator.WithPolicy(allocator.Guide), allocator.ErrUnsupported},
		"bare device":     {struct{ metal.Device }{dev}, allocator.WithPolicy(allocator.Guide), allocator.ErrUnsupported},
		"policy wait":     {dev, allocator.WithPolicy(allocator.Wait), allocator.ErrUnsupported},
		"policy 77":       {dev, allocator.WithPolicy(77), allocator.ErrUnsupported},
		"memory limit -1": {dev, allocator.WithMemoryLimit(-1), allocator.ErrInvalidSize},
		"cache limit -1":  {dev, allocator.WithCacheLimit(-1), allocator.ErrInvalidSize},
		"wired limit -1":  {dev, allocator.WithWiredLimit(-1), allocator.ErrInvalidSize},
		"wired limit 1":   {unwirable(dev), allocator.WithWiredLimit(1), allocator.ErrUnsupported},
		"wired too much":  {dev, allocator.WithWiredLimit(allocator.NoLimit), allocator.ErrInvalidSize},
	} {
		rt, err := allocator.Open(c.dev, c.opt)
		require.ErrorIs(t, err, c.want, name)
		require.Nil(t, rt, name)
	}
	require.NoError(t, dev.Close())
}

func TestCacheLimitZero(t *testing.T) {
	for name, open := range everyDevice {
		t.Run(name, func(t *testing.T) {
			rt := open(t, allocator.WithCacheLimit(0))
			s := newStream(t, rt)
			b := malloc(t, s, 5*page)
			require.EqualValues(t, 5*page, rt.ReservedMemory())
			free(t, b)
			require.Zero(t, rt.ReservedMemory(), "it is back when Free returns")
			x, y := malloc(t, s, 1000), malloc(t, s, 1000)
			free(t, x)
			require.Zero(t, rt.CacheMemory())
			f := rt.Snapshot().Total
			require.Equal(t, f.Reserved-1024, f.Slack)
			misses := f.Misses
			x = malloc(t, s, 1000)
			require.Equal(t, misses, rt.Snapshot().Total.Misses, "slack serves mallocs all the same")
			free(t, x, y)
			require.Zero(t, rt.ReservedMemory())
			identity(t, rt)
		})
	}
}

// everyDevice opens a runtime on each kind of simulated device.
var everyDevice = map[string]func(t *testing.T, opts ...allocator.Option) *allocator.Runtime{
	"2 MiB pages": func(t *testing.T, opts ...allocator.Option) *allocator.Runtime {
		return open(t, simDevice(t, sim.Config{}), opts...)
	},
	"64 KiB pages": func(t *testing.T, opts ...allocator.Option) *allocator.Runtime {
		return open(t, simDevice(t, sim.Config{PageSize: 64 << 10}), opts...)
	},
	"segments": func(t *testing.T, opts ...allocator.Option) *allocator.Runtime {
		dev, err := sim.NewSegments(sim.Config{MaxBuffer: 64 << 20})
		require.NoError(t, err)
		return open(t, dev, opts...)
	},
}

func TestCacheLimitIsKept(t *testing.T) {
	const limit = 3 * page
	rt, _ := openSim(t, sim.Config{HandleSize: page}, allocator.WithCacheLimit(limit))
	a, b := newStream(t, rt), newStream(t, rt)
	for range 4 {
		x, y := malloc(t, a, 2*page), malloc(t, b, 2*page)
		free(t, x)
		require.LessOrEqual(t, rt.CacheMemory(), int64(limit))
		free(t, y)
		require.EqualValues(t, limit, rt.CacheMemory(), "as much as may be is kept")
	}
	previous, err := rt.SetCacheLimit(page)
	require.NoError(t, err)
	require.EqualValues(t, limit, previous)
	require.EqualValues(t, page, rt.CacheMemory(), "lowering trims at once")
	require.EqualValues(t, page, rt.ReservedMemory())
}

func TestMemoryLimitLowered(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	a, b := newStream(t, rt), newStream(t, rt)
	live, x, y := malloc(t, a, 2*page), malloc(t, a, 3*page), malloc(t, b, 4*page)
	free(t, x, y)
	previous, err := rt.SetMemoryLimit(5 * page)
	require.NoError(t, err)
	require.EqualValues(t, 76<<30, previous)
	require.EqualValues(t, 5*page, rt.ReservedMemory())
	_, err = rt.SetMemoryLimit(page)
	require.NoError(t, err)
	require.EqualValues(t, 2*page, rt.ReservedMemory(), "what is in use stays")
	free(t, live)
	live = malloc(t, a, 2*page) // served from what is reserved
	require.EqualValues(t, 2*page, rt.ReservedMemory())
	x = malloc(t, a, page)
	require.EqualValues(t, 3*page, rt.ReservedMemory(), "Guide goes on")
	identity(t, rt)
	free(t, x, live)
}

func TestRefuse(t *testing.T) {
	rt, dev := openSim(t, sim.Config{}, allocator.WithMemoryLimit(4*page), allocator.WithPolicy(allocator.Refuse))
	a, b := newStream(t, rt, allocator.WithName("a")), newStream(t, rt, allocator.WithName("b"))
	x, y := malloc(t, a, 2*page), malloc(t, b, page)
	before := rt.Snapshot()
	calls := dev.Calls()
	_, err := b.Malloc(ctx, 2*page)
	var ae *allocator.AllocError
	require.ErrorAs(t, err, &ae)
	require.ErrorIs(t, err, allocator.ErrLimitExceeded)
	require.NotErrorIs(t, err, allocator.ErrOutOfMemory)
	require.Equal(t, "malloc", ae.Op)
	require.Equal(t, "b", ae.Stream)
	require.EqualValues(t, 2*page, ae.Requested)
	require.EqualValues(t, 3*page, ae.Active)
	require.EqualValues(t, 4*page, ae.Limit)
	require.Equal(t, "\"a\": active 4 MiB in 1 buffer, the largest 4 MiB\n\"b\": active 2 MiB in 1 buffer, the largest 2 MiB", ae.Holders)
	before.Total.Refusals++
	require.Equal(t, before.Total, rt.Snapshot().Total, "nothing else is changed")
	require.Equal(t, calls[sim.CallCreate], dev.Calls()[sim.CallCreate])
	z := malloc(t, b, page)
	free(t, x)
	x = malloc(t, b, 2*page) // a's cache goes first
	require.EqualValues(t, 4*page, rt.ReservedMemory())
	free(t, y)
	y = malloc(t, b, 4096) // served from what is reserved
	free(t, x, y, z)
	identity(t, rt)
}

// The device is smaller than the limits: its no reclaims the caches, all
// streams', and the malloc is tried once more.
func TestOutOfMemoryReclaims(t *testing.T) {
	rt, dev := openSim(t, sim.Config{Memory: 8 * page},
		allocator.WithMemoryLimit(allocator.NoLimit))
	a, b := newStream(t, rt), newStream(t, rt)
	free(t, malloc(t, a, 3*page), malloc(t, b, 3*page))
	x := malloc(t, b, 8*page)
	identity(t, rt)
	_, err := a.Malloc(ctx, 1)
	require.ErrorIs(t, err, allocator.ErrOutOfMemory)
	require.NotErrorIs(t, err, allocator.ErrLimitExceeded)
	require.Contains(t, err.Error(), `: 2 MiB wanted, reserved 16 MiB = active 16 MiB + cache 0 B + slack 0 B
  "stream-2": active 16 MiB in 1 buffer, the largest 16 MiB`)
	require.EqualValues(t, 8*page, rt.ReservedMemory())
	free(t, x)
	creates := dev.Calls()[sim.CallCreate]
	dev.FailNext(sim.CallCreate, 1, nil)
	dev.FailNext(sim.CallCreate, 2, nil)
	_, err = a.Malloc(ctx, 1)
	require.ErrorIs(t, err, allocator.ErrOutOfMemory)
	require.EqualValues(t, 2, dev.Calls()[sim.CallCreate]-creates, "tried once more, not for ever")
	dev.FailNext(sim.CallCreate, 1, nil)
	free(t, malloc(t, a, 1))
	identity(t, rt)
}

func TestSizes(t *testing.T) {
	dev, err := sim.NewSegments(sim.Config{MaxBuffer: 10_000})
	require.NoError(t, err)
	segments := open(t, dev)
	pages, _ := openSim(t, sim.Config{Memory: 4 * page})
	huge, _ := openSim(t, sim.Config{Memory: 1 << 60, AddressSpace: 1 << 61})
	for _, c := range []struct {
		rt   *allocator.Runtime
		size int64
		want error
	}{
		{pages, -1, allocator.ErrInvalidSize},
		{pages, math.MinInt64, allocator.ErrInvalidSize},
		{pages, 4*page + 1, allocator.ErrTooLarge},
		{pages, math.MaxInt64, allocator.ErrTooLarge},
		{pages, math.MaxInt64 - 511, allocator.ErrTooLarge},
		{pages, 4 * page, nil},
		{segments, 9728, nil},
		{segments, 9729, allocator.ErrTooLarge}, // rounded up it is over MaxBuffer
		{segments, 10_000, allocator.ErrTooLarge},
		{segments, 10_001, allocator.ErrTooLarge},
		{huge, 1 << 59, allocator.ErrTooLarge},
		{pages, 0, nil},
	} {
		s, reserved := newStream(t, c.rt), c.rt.ReservedMemory()
		b, err := s.Malloc(ctx, c.size)
		require.ErrorIs(t, err, c.want, "%d", c.size)
		if c.want == nil {
			require.Equal(t, c.size, b.Size())
			free(t, b)
			continue
		}
		var ae *allocator.AllocError
		require.ErrorAs(t, err, &ae)
		require.Equal(t, allocator.Buffer{}, b)
		require.Equal(t, reserved, c.rt.ReservedMemory())
	}
}
