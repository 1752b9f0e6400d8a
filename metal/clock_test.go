package metal

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVirtualClockOnlyMovesForward(t *testing.T) {
	var c VirtualClock
	require.Zero(t, c.Now())
	c.Set(5)
	c.Set(3)
	c.Advance(-1)
	require.Equal(t, time.Duration(5), c.Now())
	c.Advance(2)
	require.Equal(t, time.Duration(7), c.Now())
	c.Advance(math.MaxInt64) // would overflow
	require.Equal(t, time.Duration(7), c.Now())
}

func TestVirtualClockRunsAlarmsInOrder(t *testing.T) {
	var c VirtualClock
	var seen []string
	note := func(name string, at time.Duration) func() {
		return func() {
			require.Equal(t, at, c.Now(), "Now while %q goes off", name)
			seen = append(seen, name)
		}
	}
	c.At(30, note("c", 30))
	c.At(10, note("a", 10))
	c.At(20, note("b1", 20))
	c.At(20, note("b2", 20))
	c.At(0, note("at once", 0))
	require.Equal(t, []string{"at once"}, seen)

	c.Set(9)
	require.Len(t, seen, 1)
	c.Advance(11)
	require.Equal(t, []string{"at once", "a", "b1", "b2"}, seen)
	c.Set(100)
	require.Equal(t, []string{"at once", "a", "b1", "b2", "c"}, seen)
	require.Equal(t, time.Duration(100), c.Now())
}

func TestVirtualClockAlarmMayUseTheClock(t *testing.T) {
	var c VirtualClock
	var times []time.Duration
	var tick func()
	tick = func() {
		times = append(times, c.Now())
		if len(times) < 3 {
			c.At(c.Now()+10, tick)
		} else {
			c.Advance(1000)
		}
	}
	c.At(10, tick)
	c.Set(50)
	require.Equal(t, []time.Duration{10, 20, 30}, times)
	require.Equal(t, time.Duration(1050), c.Now())
}
