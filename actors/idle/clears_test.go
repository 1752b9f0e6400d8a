package idle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loop clears and grows n times, and returns how many hints there were.
func loop(c *Clears, now *int64, n int, pause time.Duration) (hints []Hint) {
	for range n {
		c.Cleared(*now, 100)
		*now += int64(pause)
		if h, _, ok := c.Grew(*now); ok {
			hints = append(hints, h)
		}
	}
	return hints
}

func TestClears(t *testing.T) {
	var c Clears
	var now int64
	require.Empty(t, loop(&c, &now, 1000, 110*time.Millisecond), "ten a second, not more")
	now += int64(time.Minute)
	require.Equal(t, []Hint{{Calls: 10, Within: 500 * time.Millisecond, Released: 1000}}, loop(&c, &now, 1000, 50*time.Millisecond), "once")

	c = Clears{}
	for range 1000 { // nothing is taken again, or nothing went back
		c.Cleared(now, 100)
		c.Cleared(now, 0)
	}
	_, first, ok := c.Grew(now)
	require.True(t, first, "a loop may begin here")
	require.False(t, ok)
	for range 1000 {
		_, _, ok = c.Grew(now)
		require.False(t, ok)
	}
}
