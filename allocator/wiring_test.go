package allocator_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// wirable is a simulated device with wiring books of the test's own.
type wirable struct {
	*sim.Device
	books
}

func (w *wirable) Wire(addr uintptr, size int64) error   { return w.wire(addr, size) }
func (w *wirable) Unwire(addr uintptr, size int64) error { return w.unwire(addr, size) }

// wirableSegments is the same for whole segments.
type wirableSegments struct {
	*sim.SegmentDevice
	books
}

func (w *wirableSegments) Wire(addr uintptr, size int64) error   { return w.wire(addr, size) }
func (w *wirableSegments) Unwire(addr uintptr, size int64) error { return w.unwire(addr, size) }

// books do what a metal.Wirer does. It runs on the metal actor alone, and what tests read
// they read when that is idle.
type books struct {
	wired  map[uintptr]int64
	system int64 // what the system allows in all; 0: any
	panics bool  // in the next call
	wrong  error // an Unwire of what isn't wired so
}

func (b *books) wire(addr uintptr, size int64) error {
	b.blow()
	if b.system > 0 && b.total()+size > b.system {
		return fmt.Errorf("system allows %d: %w", b.system, metal.ErrLimitExceeded)
	}
	if b.wired == nil {
		b.wired = map[uintptr]int64{}
	}
	b.wired[addr] = size
	return nil
}

func (b *books) unwire(addr uintptr, size int64) error {
	b.blow()
	if b.wired[addr] != size {
		b.wrong = fmt.Errorf("unwire of %d bytes at %#x, of which %d are wired", size, addr, b.wired[addr])
		return b.wrong
	}
	delete(b.wired, addr)
	return nil
}

func (b *books) blow() {
	if b.panics {
		b.panics = false
		panic("wiring blew up")
	}
}

func (b *books) total() (n int64) {
	for _, size := range b.wired {
		n += size
	}
	return n
}

func TestWiredLimit(t *testing.T) {
	dev := &wirable{Device: simDevice(t, sim.Config{})}
	rt := open(t, dev)
	s := newStream(t, rt)
	wired := func(want int64) {
		t.Helper()
		require.NoError(t, dev.wrong)
		require.Equal(t, want, dev.total()/page)
		require.Equal(t, want*page, rt.Snapshot().Device.Wired)
	}
	set := func(n int64) {
		t.Helper()
		before := rt.WiredLimit()
		previous, err := rt.SetWiredLimit(n)
		require.NoError(t, err)
		require.Equal(t, before, previous)
	}
	x := malloc(t, s, 3*page)
	wired(0)
	set(2*page + 1)
	wired(2)
	set(4 * page)
	wired(3)
	y := malloc(t, s, 3*page)
	wired(4)
	set(5 * page)
	wired(5)
	set(3 * page)
	wired(3)
	free(t, x)
	wired(3) // cached memory stays wired
	set(0)
	wired(0)
	set(100 * page)
	wired(6)
	_, err := rt.ClearCache()
	require.NoError(t, err)
	wired(3)
	x = malloc(t, s, 2*page)
	free(t, x)
	x = malloc(t, s, 4*page) // the two cached pages move
	require.EqualValues(t, 7*page, rt.ReservedMemory())
	wired(7)
	free(t, x, y)
	set(allocator.DefaultLimit)
	wired(0)
	set(100 * page)
	require.NoError(t, rt.Close(ctx))
	wired(0)
}

func TestWiringRefusedBySystem(t *testing.T) {
	dev := &wirable{Device: simDevice(t, sim.Config{})}
	dev.system = 3 * page
	rt := open(t, dev)
	s := newStream(t, rt)
	x := malloc(t, s, 5*page)
	_, err := rt.SetWiredLimit(2 * page)
	require.NoError(t, err)
	previous, err := rt.SetWiredLimit(4 * page)
	require.ErrorIs(t, err, allocator.ErrLimitExceeded)
	require.ErrorContains(t, err, fmt.Sprint(dev.system))
	require.EqualValues(t, 2*page, previous)
	require.EqualValues(t, 2*page, rt.WiredLimit(), "the old limit is kept")
	require.EqualValues(t, 2*page, dev.total())
	_, err = rt.SetWiredLimit(3 * page)
	require.NoError(t, err)
	dev.system = page
	y := malloc(t, s, page) // a malloc never fails for wiring
	require.EqualValues(t, 3*page, dev.total())
	free(t, x, y)
	require.NoError(t, dev.wrong)
}

func TestWiringPanics(t *testing.T) {
	dev := &wirable{Device: simDevice(t, sim.Config{})}
	rt := open(t, dev)
	s := newStream(t, rt)
	x := malloc(t, s, 2*page)
	dev.panics = true
	_, err := rt.SetWiredLimit(8 * page)
	require.Error(t, err)
	require.Zero(t, rt.WiredLimit(), "nothing is changed")
	_, err = rt.SetWiredLimit(8 * page)
	require.NoError(t, err)
	dev.panics = true
	_, err = s.Malloc(ctx, 2*page)
	require.Error(t, err)
	identity(t, rt)
	require.EqualValues(t, 2*page, rt.ReservedMemory())
	require.EqualValues(t, 2*page, dev.total())
	dev.panics = true
	free(t, x)
	_, err = rt.ClearCache()
	require.NoError(t, err)
	_, err = rt.ClearCache()
	require.NoError(t, err)
	require.Zero(t, rt.ReservedMemory())
	require.Zero(t, dev.total())
	require.NoError(t, dev.wrong)
}

// Lowering only unwires, whatever would fit below the new limit.
func TestWiringOfSegments(t *testing.T) {
	for range 10 { // the order in which segments are looked at is random
		seg, err := sim.NewSegments(sim.Config{})
		require.NoError(t, err)
		dev := &wirableSegments{SegmentDevice: seg}
		rt, err := allocator.Open(dev, allocator.WithWiredLimit(40<<20))
		require.NoError(t, err)
		s := newStream(t, rt)
		x, y := malloc(t, s, 30<<20), malloc(t, s, 20<<20)
		require.EqualValues(t, 30<<20, dev.total(), "the second one does not fit")
		_, err = rt.SetWiredLimit(25 << 20)
		require.NoError(t, err)
		require.Zero(t, dev.total())
		_, err = rt.SetWiredLimit(60 << 20)
		require.NoError(t, err)
		require.EqualValues(t, 50<<20, dev.total())
		free(t, x, y)
		require.NoError(t, rt.Close(ctx))
		require.NoError(t, dev.wrong)
		require.Zero(t, dev.total())
		require.NoError(t, dev.Close())
	}
}

// unwirable is the device without metal.Wirer.
func unwirable(dev *sim.Device) metal.Device {
	return struct {
		metal.Device
		metal.Pager
	}{dev, dev}
}

func TestNoWirer(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	bare, err := allocator.Open(unwirable(dev))
	require.NoError(t, err)
	for _, rt := range []*allocator.Runtime{bare, rt} {
		previous, err := rt.SetWiredLimit(0)
		require.NoError(t, err)
		require.Zero(t, previous)
	}
	_, err = bare.SetWiredLimit(1)
	require.ErrorIs(t, err, allocator.ErrUnsupported)
	_, err = bare.SetWiredLimit(dev.Info().WorkingSet + 1)
	require.ErrorIs(t, err, allocator.ErrInvalidSize)
	require.Zero(t, bare.WiredLimit())
	require.NoError(t, bare.Close(ctx))
}
