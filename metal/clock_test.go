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

func TestVirtualClockStopsAlarms(t *testing.T) {
	var c VirtualClock
	var seen []int
	note := func(n int) func() { return func() { seen = append(seen, n) } }
	stop1 := c.AfterFunc(10, note(1))
	stop2 := c.AfterFunc(10, note(2))
	stop3 := c.AfterFunc(20, note(3))
	require.True(t, stop2())
	require.False(t, stop2(), "stopped already")
	require.Empty(t, seen)
	c.Advance(10)
	require.Equal(t, []int{1}, seen)
	require.False(t, stop1(), "too late")
	require.True(t, stop3())
	c.Advance(100)
	require.Equal(t, []int{1}, seen)
	require.False(t, c.AfterFunc(0, note(4))())
	require.Equal(t, []int{1, 4}, seen, "at once")
}
