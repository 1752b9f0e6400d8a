package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry"
	"github.com/metalloc/metalloc/telemetry/torch"
)

func TestTimeline(t *testing.T) {
	timed := newStory(0, 1).alloc(0, 3*mib).at(0).alloc(1, mib).at(2000).requested(0).at(3000).completed(0).at(4000)
	untimed := newStory(0, 1).alloc(0, 3*mib).alloc(1, mib).requested(0).completed(0)
	for name, c := range map[string]struct {
		story *story
		at    []int64
	}{
		"times":    {timed, []int64{0, 2_000_000, 3_000_000}},
		"no times": {untimed, []int64{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			onDevices(t, func(t *testing.T, dev device) {
				var line Timeline
				r, err := Config{Timeline: &line}.Run(t.Context(), dev, &c.story.History)
				require.NoError(t, err)
				require.Equal(t, name == "times", line.ByTime)
				var at, requested, active []int64
				for _, s := range line.States {
					require.Equal(t, s.Reserved, s.Active+s.Cache+s.Slack)
					at, requested, active = append(at, s.At), append(requested, s.Requested), append(active, s.Active)
				}
				require.Equal(t, c.at, at)
				require.Equal(t, []int64{3 * mib, 4 * mib, mib}, requested)
				require.Equal(t, []int64{3 * mib, 4 * mib, mib}, active)
				require.Equal(t, r.ReservedPeak, line.States[1].Reserved)
			})
		})
	}
}

// However many events there are, few states come of them, and the peaks are among
// them.
func TestTimelineKeepsPeaks(t *testing.T) {
	s := newStory(0, 1)
	for i := range int32(20_000) {
		size := int64(1+i%97) * 4096
		if i == 7777 {
			size = 30 * mib
		}
		s.alloc(i%2, size).at(int64(i) * 10).free(i)
	}
	for _, concurrent := range []bool{false, true} {
		dev, err := sim.New(sim.Config{Memory: 64 * mib})
		require.NoError(t, err)
		var line Timeline
		r, err := Config{Timeline: &line, Concurrent: concurrent}.Run(t.Context(), dev, &s.History)
		require.NoError(t, err)
		require.NoError(t, dev.Close())
		require.Greater(t, len(line.States), timelineSteps/2)
		require.Less(t, len(line.States), 2000)
		var last State
		var active, reserved int64
		for _, s := range line.States {
			require.GreaterOrEqual(t, s.At, last.At)
			require.NotEqual(t, last, s)
			last, active, reserved = s, max(active, s.Active), max(reserved, s.Reserved)
		}
		require.Equal(t, []int64{r.ActivePeak, r.ReservedPeak}, []int64{active, reserved})
	}
}

// A step in which most was active at another time than most was reserved has both
// states.
func TestTimelineHasBothPeaksOfAStep(t *testing.T) {
	h := &torch.History{Events: make([]torch.Event, 5*timelineSteps)}
	var line Timeline
	s := newSampler(&line, h)
	figures := func(active, cache int64) telemetry.Figures {
		return telemetry.Figures{Active: active, Cache: cache, Reserved: active + cache}
	}
	s.note(0, 1, figures(10, 0))
	s.note(1, 2, figures(10, 5))
	s.note(2, 3, figures(12, 0))
	s.note(3, 4, figures(3, 0))
	s.note(100, 5, figures(7, 0)) // steps without an event lie between
	s.note(101, 6, figures(6, 0)) // of the same step, and the next one has an event
	s.note(107, 7, figures(9, 1))
	s.flush(true)
	s.flush(true)
	require.Equal(t, []State{{1, 2, 10, 5, 0, 15}, {2, 3, 12, 0, 0, 12}, {3, 4, 3, 0, 0, 3}, {100, 5, 7, 0, 0, 7}, {107, 7, 9, 1, 0, 10}}, line.States)
}

func TestSpan(t *testing.T) {
	dev, err := sim.New(sim.Config{Memory: 64 * mib})
	require.NoError(t, err)
	s := newStory(0, 1).alloc(0, mib).at(500).free(0).at(2500)
	r, err := Config{Clock: new(metal.VirtualClock)}.Run(t.Context(), dev, &s.History)
	require.NoError(t, err)
	require.Equal(t, 2*time.Millisecond, time.Duration(r.SpanNS))
	require.InDelta(t, float64(r.DriverNS)/2e6, r.DriverOfSpan, 1e-6)
	require.Positive(t, r.DriverOfSpan)
	require.EqualValues(t, 64*mib, r.HandleSize)
	require.False(t, r.Segments)

	r, err = Run(t.Context(), dev, &newStory(0, 1).alloc(0, mib).History)
	require.NoError(t, err)
	require.Zero(t, r.SpanNS)
	require.Zero(t, r.DriverOfSpan, "no times")
	require.NoError(t, dev.Close())

	whole, err := sim.NewSegments(sim.Config{Memory: 64 * mib})
	require.NoError(t, err)
	r, err = Run(t.Context(), whole, &newStory(0, 1).alloc(0, mib).History)
	require.NoError(t, err)
	require.True(t, r.Segments)
	require.Zero(t, r.HandleSize)
	require.NoError(t, whole.Close())
}
