package host

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/devicetest"
)

func TestContract(t *testing.T) {
	devicetest.Run(t, func(t *testing.T) metal.Device {
		d, err := Open()
		require.NoError(t, err)
		return d
	})
}

// TestHeapContract is for the device of systems other than Linux, on all systems.
func TestHeapContract(t *testing.T) {
	devicetest.Run(t, func(t *testing.T) metal.Device {
		d, err := openHeap(nil)
		require.NoError(t, err)
		return d
	})
}

func TestConfig(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name        string
		total, want int64
		opts        []Option
	}{
		{"all there is", 16 * gib, 16 * gib, nil},
		{"whole pages", 16*gib + pageSize - 1, 16 * gib, nil},
		{"unknown", 0, unknownMemory, nil},
		{"less", 16 * gib, gib, []Option{WithMemory(gib)}},
		{"less, in whole pages", 16 * gib, gib, []Option{WithMemory(gib + 1)}},
		{"more than there is", 16 * gib, 16 * gib, []Option{WithMemory(32 * gib)}},
		{"of something unknown", 0, 32 * gib, []Option{WithMemory(32 * gib)}},
		{"everything of something unknown", 0, maxMemory, []Option{WithMemory(math.MaxInt64)}},
		{"the last one counts", 16 * gib, gib, []Option{WithMemory(2 * gib), WithMemory(gib)}},
		{"one page", 16 * gib, pageSize, []Option{WithMemory(pageSize)}},
	} {
		cfg, err := newConfig(limits{c.total, noLimit}, c.opts)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, cfg.memory, c.name)
		require.Zero(t, cfg.info().WorkingSet%pageSize, c.name)
	}
	cfg, err := newConfig(limits{16 * gib, noLimit}, nil)
	require.NoError(t, err)
	require.InDelta(t, 12*gib, cfg.info().WorkingSet, pageSize)
	cfg, err = newConfig(limits{16 * gib, 10 * gib}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 10*gib, cfg.info().WorkingSet, "not more than what is slowed down")
	cfg, err = newConfig(limits{16 * gib, 1}, nil)
	require.NoError(t, err)
	require.EqualValues(t, pageSize, cfg.info().WorkingSet)

	for _, n := range []int64{0, -1, math.MinInt64, pageSize - 1} {
		_, err := newConfig(limits{16 * gib, noLimit}, []Option{WithMemory(n)})
		require.ErrorIs(t, err, metal.ErrInvalidSize, "%d", n)
	}
}

func TestPadding(t *testing.T) {
	for addr, want := range map[uintptr]uintptr{0: 0, 1: 511, 511: 1, 512: 0, 513: 511, math.MaxUint - 511: 0, math.MaxUint: 1} {
		require.Equal(t, want, padding(addr, 512), "%#x", addr)
	}
}

func TestWithMemory(t *testing.T) {
	_, err := Open(WithMemory(-1))
	require.ErrorIs(t, err, metal.ErrInvalidSize)
	_, err = openHeap([]Option{WithMemory(-1)})
	require.ErrorIs(t, err, metal.ErrInvalidSize)

	d, err := Open(WithMemory(2 * pageSize))
	require.NoError(t, err)
	s, err := d.Alloc(2 * pageSize)
	require.NoError(t, err)
	_, err = d.Alloc(1)
	require.ErrorIs(t, err, metal.ErrOutOfMemory)
	require.NoError(t, d.Free(s))
	require.NoError(t, d.Close())
}

func TestWithClock(t *testing.T) {
	clock := new(metal.VirtualClock)
	d, err := Open(WithClock(clock))
	require.NoError(t, err)
	q, err := d.NewQueue()
	require.NoError(t, err)
	_, err = q.SubmitUntil(time.Second)
	require.NoError(t, err)
	mark, err := d.Record(q.Handle())
	require.NoError(t, err)
	ok, err := d.Reached(mark)
	require.NoError(t, err)
	require.False(t, ok)
	clock.Set(time.Second)
	ok, err = d.Reached(mark)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, d.Close())
}

// TestHeapNeverFaults: memory that was freed can still be read.
func TestHeapNeverFaults(t *testing.T) {
	d, err := openHeap(nil)
	require.NoError(t, err)
	s, err := d.Alloc(1 << 20)
	require.NoError(t, err)
	stale := bytesAt(s.Addr, s.Size)
	stale[0] = 7
	require.NoError(t, d.Free(s))
	require.EqualValues(t, 7, stale[0])
	require.NoError(t, d.Close())
}
