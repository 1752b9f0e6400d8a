package replay

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// at sets the last event's time, in µs after some start.
func (s *story) at(us int64) *story {
	s.Events[len(s.Events)-1].TimeUS = 1_700_000_000_000_000 + us
	return s
}

// onTimedDevices is onDevices with a clock, and memory of the caller's choice.
func onTimedDevices(t *testing.T, test func(t *testing.T, open func(memory int64) (device, *metal.VirtualClock))) {
	t.Helper()
	for kind, open := range map[string]func(int64, metal.Clock) (device, error){
		"sim":  func(n int64, c metal.Clock) (device, error) { return sim.New(sim.Config{Memory: n, Clock: c}) },
		"host": func(n int64, c metal.Clock) (device, error) { return host.Open(host.WithMemory(n), host.WithClock(c)) },
	} {
		t.Run(kind, func(t *testing.T) {
			test(t, func(memory int64) (device, *metal.VirtualClock) {
				clock := new(metal.VirtualClock)
				dev, err := open(memory, clock)
				require.NoError(t, err)
				return dev, clock
			})
		})
	}
}

// Two blocks on two streams of a device with room for one: the second gets its
// memory only if the first one's pages can leave.
func TestPagesLeaveLagAfterTheFree(t *testing.T) {
	const size = 8 * mib
	atOnce := newStory(0, 1).alloc(0, size).at(0).requested(0).at(5000).completed(0).at(5000)
	late := newStory(0, 1).alloc(0, size).at(0).requested(0).at(5000).foreign().at(5001).completed(0).at(20_000)
	never := newStory(0, 1).alloc(0, size).at(0).requested(0).at(5000)
	for name, c := range map[string]struct {
		story *story
		lag   time.Duration
		last  int64 // when block 1 is allocated
		fits  bool
	}{
		"too early":                 {atOnce, 10 * time.Millisecond, 14_999, false},
		"in time":                   {atOnce, 10 * time.Millisecond, 15_000, true},
		"short lag":                 {atOnce, time.Microsecond, 5001, true},
		"no lag":                    {atOnce, 0, 5000, true},
		"completed after the lag":   {late, 10 * time.Millisecond, 20_000, true},
		"the lag is over only then": {late, 30 * time.Millisecond, 34_999, false},
		"now it is":                 {late, 30 * time.Millisecond, 35_000, true},
		"never completed":           {never, 10 * time.Millisecond, 1_000_000, false},
		"longest lag":               {atOnce, math.MaxInt64, 1_000_000, false},
	} {
		s := newStory(0, 1)
		s.History = c.story.History
		s.Events = slices.Clone(s.Events)
		s.alloc(1, size).at(c.last)
		t.Run(name, func(t *testing.T) {
			onTimedDevices(t, func(t *testing.T, open func(int64) (device, *metal.VirtualClock)) {
				for _, concurrent := range []bool{false, true} { // in a window of 0
					dev, clock := open(3 * size / 2)
					r, err := Config{Concurrent: concurrent, Lag: c.lag, Clock: clock}.Run(t.Context(), dev, &s.History)
					if c.fits {
						require.NoError(t, err)
						require.Equal(t, c.lag.Nanoseconds(), r.LagNS)
					} else {
						require.ErrorIs(t, err, allocator.ErrOutOfMemory)
					}
					require.NoError(t, dev.Close(), "lag or not, all memory goes back")
				}
			})
		})
	}
}

// A late free completes between its lag and the next event: the block is not
// handed out before completion.
func TestLateFreeBeforeItsCompletion(t *testing.T) {
	const size = 8 * mib
	s := newStory(0).alloc(0, size).at(0).requested(0).at(1).alloc(0, size).at(15_000).completed(0).at(20_000).alloc(0, size).at(20_001)
	onTimedDevices(t, func(t *testing.T, open func(int64) (device, *metal.VirtualClock)) {
		dev, clock := open(64 * mib)
		r, err := Config{Lag: 10 * time.Millisecond, Clock: clock}.Run(t.Context(), dev, &s.History)
		require.NoError(t, err)
		require.EqualValues(t, 2*size, r.ReservedPeak, "block 1 has memory of its own, block 2 has that of block 0")
		require.NoError(t, dev.Close())
	})
}

func TestConcurrentLag(t *testing.T) {
	t.Logf("seed %d", *seed)
	s := randomStory(rand.New(rand.NewPCG(*seed, 2)), 2000, 4)
	for i := range s.Events {
		s.Events[i].TimeUS = 1_700_000_000_000_000 + int64(i)*100
	}
	onTimedDevices(t, func(t *testing.T, open func(int64) (device, *metal.VirtualClock)) {
		dev, clock := open(64 * mib)
		want, err := Config{Lag: 10 * time.Millisecond, Clock: clock}.Run(t.Context(), dev, &s.History)
		require.NoError(t, err)
		require.NoError(t, dev.Close())
		dev, clock = open(64 * mib)
		got, err := Config{Concurrent: true, Window: DefaultWindow, Lag: 10 * time.Millisecond, Clock: clock}.Run(t.Context(), dev, &s.History)
		require.NoError(t, err)
		requireSame(t, want, got)
		require.LessOrEqual(t, clock.Now(), time.Duration(len(s.Events)-1)*100*time.Microsecond, "the last event's time")
		require.NoError(t, dev.Close())
	})
}

// A device whose queues have another clock, or none, or no queues at all.
func TestLagNeedsTimedQueues(t *testing.T) {
	dev, err := sim.New(sim.Config{Memory: 64 * mib})
	require.NoError(t, err)
	plain := struct {
		metal.Device
		metal.Pager
	}{dev, dev}
	s := newStory(0).alloc(0, 1).at(0).free(0)
	lagged := Config{Lag: time.Millisecond, Clock: new(metal.VirtualClock)}
	for _, d := range []metal.Device{dev, plain} {
		_, err := lagged.Run(t.Context(), d, &s.History)
		require.ErrorIs(t, err, allocator.ErrUnsupported)
	}
	_, err = lagged.Run(t.Context(), dev, &newStory(0).alloc(0, 1).History)
	require.ErrorIs(t, err, allocator.ErrUnsupported)
	require.ErrorContains(t, err, "no times")
	require.NoError(t, dev.Close())
}

func TestTimes(t *testing.T) {
	for name, c := range map[string]struct {
		us   []int64
		want []time.Duration
	}{
		"none":              {nil, []time.Duration{}},
		"growing":           {[]int64{100, 101, 110}, []time.Duration{0, 1000, 10_000}},
		"stepping back":     {[]int64{100, 110, 105, 90, 111}, []time.Duration{0, 10_000, 10_000, 10_000, 11_000}},
		"without, at first": {[]int64{0, 5}, []time.Duration{0, 5000}},
		"absurd": {
			[]int64{math.MinInt64, 0, math.MaxInt64},
			[]time.Duration{0, maxTime / 1000 * 1000, maxTime / 1000 * 1000},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var h torch.History
			for _, us := range c.us {
				h.Events = append(h.Events, torch.Event{TimeUS: us})
			}
			times := timesOf(&h)
			require.Equal(t, c.want, times)
			l := lag{length: math.MaxInt64, times: times}
			for i := range times {
				require.GreaterOrEqual(t, l.over(int32(i)), times[i], "no overflow")
			}
		})
	}
}
