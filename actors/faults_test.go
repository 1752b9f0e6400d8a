package actors_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/actors/turn"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// scripted is what both simulated devices can do for a test.
type scripted interface {
	metal.Device
	metal.Meter
	FailNext(sim.Call, int, error)
	PanicNext(sim.Call, int)
}

// fault makes the n-th call of its kind fail or panic.
type fault struct {
	call   sim.Call
	n      int
	panics bool
}

func (f fault) String() string {
	return fmt.Sprintf("%s-%d-panics-%v", f.call, f.n, f.panics)
}

func (f fault) plan(d scripted) {
	if f.panics {
		d.PanicNext(f.call, f.n)
	} else {
		d.FailNext(f.call, f.n, metal.ErrDeviceLost)
	}
}

func faultsOf(calls []sim.Call, upTo int) (fs []fault) {
	for _, c := range calls {
		for n := 1; n <= upTo; n++ {
			fs = append(fs, fault{c, n, false}, fault{c, n, true})
		}
	}
	return fs
}

var pagedCalls = []sim.Call{
	sim.CallReserve, sim.CallUnreserve, sim.CallCreate, sim.CallRelease, sim.CallMap, sim.CallUnmap,
}

// Every pair of faults, in a program that misses, moves pages, gives back, trims
// and clears: calls may fail, but accounting is exact and nothing stays behind.
func TestPairsOfFaults(t *testing.T) {
	sys := quietSystem(t)
	t.Run("pages", func(t *testing.T) {
		fs := faultsOf(pagedCalls, 2)
		for i, f := range fs {
			for _, g := range fs[i:] {
				dev, err := sim.New(sim.Config{})
				require.NoError(t, err)
				surviveFaults(t, sys, dev, f, g)
			}
		}
	})
	t.Run("segments", func(t *testing.T) {
		fs := faultsOf([]sim.Call{sim.CallAlloc, sim.CallFree}, 3)
		for _, f := range fs {
			for _, g := range fs {
				dev, err := sim.NewSegments(sim.Config{})
				require.NoError(t, err)
				surviveFaults(t, sys, dev, f, g)
			}
		}
	})
}

func surviveFaults(t *testing.T, sys *actors.System, dev scripted, f, g fault) {
	t.Helper()
	name := fmt.Sprintf("%v, then %v", f, g)
	cfg := defaults()
	cfg.System = sys
	c, err := actors.Start(dev, cfg)
	require.NoError(t, err)
	f.plan(dev)
	g.plan(dev)
	within(t, func() { faultyProgram(t, c, name) })
	for i := range 4 {
		if err = c.Close(ctx); err == nil {
			break
		}
		require.Less(t, i, 3, "%s: %v", name, err)
	}
	total := c.Snapshot().Total
	require.Zero(t, total.Reserved, name)
	u, err := dev.Usage()
	require.NoError(t, err)
	require.Zero(t, u.Taken, name)
	if err := dev.Close(); err != nil { // the device refused or panicked while ranges went back
		require.NoError(t, c.Close(ctx), name)
		require.NoError(t, dev.Close(), name)
	}
}

func faultyProgram(t *testing.T, c *actors.Core, name string) {
	t.Helper()
	check := func() {
		t.Helper()
		s := c.Snapshot()
		require.Equal(t, s.Total.Active+s.Total.Cache+s.Total.Slack, s.Total.Reserved, name)
		require.GreaterOrEqual(t, s.Total.Cache, int64(0), name)
	}
	s, other := newStream(t, c, actors.StreamConfig{}), newStream(t, c, actors.StreamConfig{})
	var live []actors.Buffer
	take := func(s *actors.Stream, n int64) {
		if b, err := s.Malloc(ctx, n); err == nil {
			live = append(live, b)
		} else {
			require.Equal(t, actors.Buffer{}, b, name)
		}
		check()
	}
	drop := func(i int) {
		if i < len(live) {
			require.NoError(t, live[i].Free(), name)
			live = append(live[:i], live[i+1:]...)
		}
		check()
	}
	take(s, 3*page)
	take(s, 100)
	take(s, 2*page)
	take(s, page)
	take(s, page)
	drop(3)
	drop(0)
	take(s, 5*page) // moves pages, two runs of them
	_, _ = c.ClearCache()
	check()
	take(other, 3*page)
	drop(len(live) - 1)
	_, _ = c.SetMemoryLimit(4 * page)
	check()
	take(s, 2*page) // sweeps first
	_, _ = c.SetCacheLimit(0)
	drop(0)
	_ = other.Close(ctx)
	check()
	_, _ = c.SetCacheLimit(actors.DefaultLimit)
	_, _ = c.SetMemoryLimit(actors.DefaultLimit)
	take(s, 3*page)
	for len(live) > 0 {
		drop(0)
	}
	require.Zero(t, c.ActiveMemory(), name)
	_, _ = c.ClearCache()
	_, _ = c.ClearCache() // what the device refused goes back now
	require.Zero(t, c.ReservedMemory(), name)
	check()
}

// marker is a device whose marks panic when told to.
type marker struct {
	*sim.Device
	record, reached, notify atomic.Int32 // panics left
}

func blow(n *atomic.Int32) {
	if n.Add(-1) >= 0 {
		panic("marker blew up")
	}
}

func (m *marker) Record(q metal.Queue) (metal.Mark, error) {
	blow(&m.record)
	return m.Device.Record(q)
}

func (m *marker) Reached(k metal.Mark) (bool, error) {
	blow(&m.reached)
	return m.Device.Reached(k)
}

func (m *marker) Notify(k metal.Mark, f func()) {
	blow(&m.notify)
	m.Device.Notify(k, f)
}

func TestMarkerPanicsInFree(t *testing.T) {
	dev := &marker{Device: simDevice(t)}
	c := start(t, dev, defaults())
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s, side := newStream(t, c, actors.StreamConfig{}), newStream(t, c, actors.StreamConfig{Queue: q.Handle()})
	b := malloc(t, s, 1000)
	require.NoError(t, b.RecordUse(side))
	q.Submit()
	dev.record.Store(1)
	err = b.Free()
	var pe *turn.PanicError
	require.ErrorAs(t, err, &pe)
	require.Equal(t, "marker blew up", pe.Value)
	require.EqualValues(t, 1024, c.ActiveMemory(), "nothing is changed")
	identity(t, c)
	require.NoError(t, malloc(t, s, 1000).Free(), "the stream goes on")
	require.NoError(t, b.Free())
	require.EqualValues(t, 1024, c.Snapshot().Total.Pending)
	identity(t, c)
	q.CompleteAll()
}

// Whatever the marker does in the other places, the stream goes on and no page is lost.
func TestMarkerPanicsElsewhere(t *testing.T) {
	for _, kind := range []string{"record", "reached", "notify"} {
		for n := 1; n <= 6; n++ {
			for skip := range 5 {
				t.Run(fmt.Sprintf("%s-%d-%d", kind, n, skip), func(t *testing.T) { markerProgram(t, kind, n, skip) })
			}
		}
	}
}

func markerProgram(t *testing.T, kind string, n, skip int) {
	dev := &marker{Device: simDevice(t)}
	c := start(t, dev, defaults())
	q, err := dev.NewQueue()
	require.NoError(t, err)
	side, err := dev.NewQueue()
	require.NoError(t, err)
	s := newStream(t, c, actors.StreamConfig{Queue: q.Handle()})
	o := newStream(t, c, actors.StreamConfig{Queue: side.Handle()})
	arm := func(step int) {
		if step != skip {
			return
		}
		kinds := map[string]*atomic.Int32{"record": &dev.record, "reached": &dev.reached, "notify": &dev.notify}
		kinds[kind].Store(int32(n))
	}
	var live []actors.Buffer
	take := func(size int64) {
		b, err := s.Malloc(ctx, size)
		if err == nil {
			live = append(live, b)
		} else {
			require.Equal(t, actors.Buffer{}, b)
		}
	}
	free := func() {
		for _, b := range live {
			for i := 0; b.Free() != nil; i++ {
				require.Less(t, i, n+1)
			}
		}
		live = nil
	}
	within(t, func() {
		arm(0)
		take(3 * page)
		take(1000)
		q.Submit()
		side.Submit()
		for _, b := range live {
			require.NoError(t, b.RecordUse(o))
		}
		arm(1)
		free()
		take(5 * page)
		identity(t, c)
		arm(2)
		_, err := c.ClearCache()
		require.NoError(t, err)
		side.CompleteAll()
		take(2 * page)
		q.CompleteAll()
		arm(3)
		_, err = c.SetCacheLimit(0)
		require.NoError(t, err)
		free()
		arm(4)
		_ = s.Synchronize(ctx)
		_ = o.Close(ctx)
		identity(t, c)
		dev.record.Store(0)
		dev.reached.Store(0)
		dev.notify.Store(0)
		_, err = c.ClearCache()
		require.NoError(t, err)
		eventually(t, func() bool { return c.ReservedMemory() == 0 })
		identity(t, c)
	})
}

// A miss that gathers pages from two places, of which the second fails.
func TestMoveFailsHalfway(t *testing.T) {
	dev, err := sim.New(sim.Config{PageSize: 64 << 10, HandleSize: 64 << 10})
	require.NoError(t, err)
	c := start(t, dev, defaults())
	s := newStream(t, c, actors.StreamConfig{})
	x, between, y := malloc(t, s, 1<<20), malloc(t, s, 1<<20), malloc(t, s, 1<<20)
	require.NoError(t, x.Free())
	require.NoError(t, y.Free())
	first := malloc(t, s, 640<<10) // leaves 6 of x's 16 pages
	dev.FailNext(sim.CallUnmap, 2, metal.ErrDeviceLost)
	_, err = s.Malloc(ctx, 640<<10)
	require.ErrorIs(t, err, actors.ErrDeviceLost)
	identity(t, c)
	require.NoError(t, first.Free())
	require.NoError(t, between.Free())
	identity(t, c)
	_, err = c.ClearCache()
	require.NoError(t, err)
	require.Zero(t, c.ReservedMemory())
}
