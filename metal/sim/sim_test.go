package sim

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/devicetest"
)

const page = defaultPageSize

func TestContract(t *testing.T) {
	for name, cfg := range map[string]Config{
		"defaults":     {},
		"small":        {Memory: 64 * mib, MaxBuffer: 10 * mib},
		"small pages":  {Memory: mib * 256, PageSize: 512, AddressSpace: gib},
		"large pages":  {PageSize: 2 * gib},
		"no big range": {Memory: gib, AddressSpace: gib},
	} {
		t.Run(name, func(t *testing.T) {
			devicetest.Run(t, func(t *testing.T) metal.Device {
				d, err := New(cfg)
				require.NoError(t, err)
				return d
			})
		})
		t.Run(name+", segments", func(t *testing.T) {
			devicetest.Run(t, func(t *testing.T) metal.Device {
				d, err := NewSegments(cfg)
				require.NoError(t, err)
				return d
			})
		})
	}
}

func TestCapabilities(t *testing.T) {
	full := metal.Device(openDevice(t, Config{}))
	segments, err := NewSegments(Config{})
	require.NoError(t, err)
	for _, d := range []metal.Device{full, segments} {
		require.Implements(t, (*metal.Segmenter)(nil), d)
		require.Implements(t, (*metal.Wirer)(nil), d)
		require.Implements(t, (*metal.Pressurer)(nil), d)
		require.Implements(t, (*metal.Marker)(nil), d)
		require.Implements(t, (*metal.SoftQueuer)(nil), d)
		require.Implements(t, (*metal.Meter)(nil), d)
		require.Implements(t, (*metal.Modeler)(nil), d)
	}
	_, pages := full.(metal.Pager)
	require.True(t, pages)
	_, pages = metal.Device(segments).(metal.Pager)
	require.False(t, pages)
	require.Zero(t, segments.Info().PageSize)
	require.Zero(t, segments.Info().HandleSize)
}

func openDevice(t *testing.T, cfg Config) *Device {
	t.Helper()
	d, err := New(cfg)
	require.NoError(t, err)
	return d
}

func TestConfig(t *testing.T) {
	require.Equal(t, metal.Info{
		Kind:       "sim",
		Name:       "simulated device",
		Memory:     80 * gib,
		WorkingSet: 76 * gib,
		PageSize:   2 * mib,
		HandleSize: 64 * mib,
		Aliases:    true,
		MaxBuffer:  80 * gib,
		Alignment:  512,
	}, openDevice(t, Config{}).Info())

	rounded := openDevice(t, Config{Memory: 10*page + 5, WorkingSet: 7*page + 1}).Info()
	require.EqualValues(t, 10*page, rounded.Memory)
	require.EqualValues(t, 7*page, rounded.WorkingSet)
	tiny := openDevice(t, Config{Memory: page}).Info()
	require.EqualValues(t, page, tiny.WorkingSet)
	require.EqualValues(t, 128*mib, openDevice(t, Config{PageSize: 128 * mib}).Info().HandleSize)
	require.EqualValues(t, 6*mib, openDevice(t, Config{HandleSize: 6 * mib}).Info().HandleSize)

	for field, cfg := range map[string]Config{
		"Memory":       {Memory: page - 1},
		"WorkingSet":   {Memory: 2 * page, WorkingSet: 3 * page},
		"PageSize":     {PageSize: 3 << 20},
		"MaxBuffer":    {MaxBuffer: -1},
		"AddressSpace": {AddressSpace: math.MaxInt64},
		"WireLimit":    {WireLimit: -1},
		"HandleSize":   {HandleSize: 3 * mib},
	} {
		_, err := New(cfg)
		require.ErrorIs(t, err, metal.ErrInvalidSize)
		require.ErrorContains(t, err, field)
		_, err = NewSegments(cfg)
		require.ErrorContains(t, err, field)
	}
	_, err := New(Config{PageSize: 256})
	require.ErrorIs(t, err, metal.ErrInvalidSize)
	_, err = New(Config{HandleSize: -page})
	require.ErrorIs(t, err, metal.ErrInvalidSize)
	_, err = New(Config{Memory: -page})
	require.ErrorIs(t, err, metal.ErrInvalidSize)
}

func TestAddressSpaceRunsOut(t *testing.T) {
	d := openDevice(t, Config{AddressSpace: 4 * page})
	r, err := d.Reserve(3 * page)
	require.NoError(t, err)
	_, err = d.Reserve(2 * page)
	require.ErrorIs(t, err, metal.ErrOutOfMemory)
	_, err = d.Alloc(2 * page)
	require.ErrorIs(t, err, metal.ErrOutOfMemory)
	require.NoError(t, d.Unreserve(r))
	_, err = d.Reserve(4 * page)
	require.NoError(t, err)
}

func TestModelledTime(t *testing.T) {
	const us = time.Microsecond
	d := openDevice(t, Config{})
	spent := time.Duration(0)
	costs := func(want time.Duration, what string) {
		t.Helper()
		require.Equal(t, want, d.ModelledTime()-spent, what)
		spent = d.ModelledTime()
	}
	r, err := d.Reserve(gib)
	require.NoError(t, err)
	costs(0, "reserve")
	hs := make([]metal.Handle, 10)
	for i := range hs {
		hs[i], err = d.Create(page)
		require.NoError(t, err)
	}
	costs(10*11500, "create")
	require.NoError(t, d.Map(r, 0, hs))
	costs(12*us+10*(700+22*us), "map: by call and by handle")
	require.Error(t, d.Map(r, 0, hs))
	costs(0, "a call that failed")
	require.NoError(t, d.Wire(r.Addr, 10*page))
	costs(us, "wire: by call")
	require.NoError(t, d.Unwire(r.Addr, 10*page))
	costs(us, "unwire: by call")
	require.NoError(t, d.Unmap(r, 0, 10*page))
	costs(7*us+10*15*us, "unmap: by call and by handle")
	for _, h := range hs {
		require.NoError(t, d.Release(h))
	}
	costs(10*40*us, "release")
	require.NoError(t, d.Unreserve(r))
	costs(0, "unreserve")
	s, err := d.Alloc(gib)
	require.NoError(t, err)
	costs(113*us, "alloc")
	require.NoError(t, d.Free(s))
	costs(340*us, "free")

	own := openDevice(t, Config{Costs: Costs{MapHandle: 1}})
	h, err := own.Create(page)
	require.NoError(t, err)
	r, err = own.Reserve(page)
	require.NoError(t, err)
	require.NoError(t, own.Map(r, 0, []metal.Handle{h}))
	require.EqualValues(t, 1, own.ModelledTime(), "costs of one's own are all there is")
}

// cold is what it takes to create n handles of a size and map them side by side,
// and gone what it takes to unmap and release them.
func coldAndGone(t *testing.T, n int, size int64) (cold, gone time.Duration) {
	t.Helper()
	d := openDevice(t, Config{})
	r, err := d.Reserve(int64(n) * size)
	require.NoError(t, err)
	hs := make([]metal.Handle, n)
	for i := range hs {
		hs[i], err = d.Create(size)
		require.NoError(t, err)
	}
	require.NoError(t, d.Map(r, 0, hs))
	cold = d.ModelledTime()
	require.NoError(t, d.Unmap(r, 0, r.Size))
	for _, h := range hs {
		require.NoError(t, d.Release(h))
	}
	return cold, d.ModelledTime() - cold
}

// The model is to be near what was measured (docs/figures/vmm-h100.jsonl; one
// handle of 2 or 256 MiB: peaks.jsonl), rather more than less.
func TestH100(t *testing.T) {
	for _, c := range []struct {
		handles    int
		size       int64
		cold, gone float64 // µs, measured
	}{
		{1, 2 * mib, 46, 62},
		{1, 256 * mib, 62, 112},
		{1, 64 * mib, 44, 56},
		{1, gib, 127, 330},
		{2, 32 * mib, 80, 85},
		{64, 16 * mib, 2135, 1850},
	} {
		cold, gone := coldAndGone(t, c.handles, c.size)
		near := func(measured float64, modelled time.Duration, what string) {
			us := float64(modelled.Nanoseconds()) / 1e3
			require.True(t, us >= 0.85*measured && us <= 1.25*measured, "%s %d handles of %d bytes: %v, %v µs were measured",
				what, c.handles, c.size, modelled, measured)
		}
		near(c.cold, cold, "create and map")
		near(c.gone, gone, "unmap and release")
	}

	one, _ := coldAndGone(t, 1, 64*mib)
	require.LessOrEqual(t, one, 112*time.Microsecond, "twice what cudaMalloc takes for 64 MiB")
	many, _ := coldAndGone(t, 32, 2*mib)
	require.Equal(t, 32*(11500+700+22000)+12*time.Microsecond, many, "1.02 ms were measured")
}

func TestCurve(t *testing.T) {
	c := Curve{{100, 10}, {200, 30}, {400, 20}}
	for size, want := range map[int64]time.Duration{
		0: 10, 99: 10, 100: 10, 150: 20, 200: 30, 300: 25, 400: 20, 401: 20, math.MaxInt64: 20,
	} {
		require.Equal(t, want, c.At(size), "%d bytes", size)
	}
	require.Zero(t, Curve(nil).At(5))
	require.EqualValues(t, 7, Curve{{5, 7}}.At(9))
}

func TestConcurrentUse(t *testing.T) {
	d := openDevice(t, Config{})
	r, err := d.Reserve(4 * 100 * page)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				offset := int64(g*100+i) * page
				h, err := d.Create(page)
				if err == nil {
					err = d.Map(r, offset, []metal.Handle{h})
				}
				if err == nil {
					err = d.Unmap(r, offset, page)
				}
				if err == nil {
					err = d.Release(h)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for range 100 {
				if _, err := d.Usage(); err != nil {
					t.Error(err)
				}
				_, _ = d.ModelledTime(), d.Calls()
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 400, d.Calls()[CallMap])
	require.NoError(t, d.Unreserve(r))
	require.NoError(t, d.Close())
}
