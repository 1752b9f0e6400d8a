package idle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func free(n int64) []Amount { return []Amount{{Since: 0, Bytes: n}} }

// Used again counts what was an eighth of what was idle, for as long as all of it was.
func TestReused(t *testing.T) {
	for used, want := range map[int64]int64{0: 0, 10: 0, 124: 0, 125: 3 * sec, 1000: 3 * sec} {
		var l Log
		for now := range int64(3) {
			require.Zero(t, l.Look(now*sec, most, free(1000)).Reused)
		}
		require.Equal(t, want, l.Look(3*sec, most, free(1000-used)).Reused, "%d used", used)
	}
	var l Log
	l.Look(0, most, free(1000))
	l.Left(500)
	require.Zero(t, l.Look(sec, most, free(500)).Reused, "it went back, nobody used it")
}

// A hit that comes and goes between two looks is seen all the same.
func TestReusedBetweenLooks(t *testing.T) {
	var l Log
	l.Look(0, most, free(1000))
	v := l.Look(sec, most, []Amount{{Since: 0, Bytes: 600}, {Since: sec / 2, Bytes: 400}})
	require.Equal(t, sec, v.Reused)
	require.EqualValues(t, 600, l.Look(2*sec, 2*sec, free(1000)).Give)
}

// Patience grows only for what was an eighth of a give-back.
func TestMissed(t *testing.T) {
	p := NewPatience(0)
	p.Gave(0, 1000)
	p.Grew(3*sec, 124)
	require.Equal(t, first, p.Now())
	p.Grew(4*sec, 1)
	require.Equal(t, 8*sec, p.Now())
	p.Gave(5*sec, 1000)
	p.Grew(5*sec+most+1, 1000)
	require.Equal(t, 8*sec, p.Now(), "no patience would have kept it")
	p.Gave(100*sec, 1000)
	p.Grew(155*sec, 1000)
	require.Equal(t, most, p.Now(), "bounded")

	p = NewPatience(time.Second)
	p.Gave(0, 1000)
	p.Grew(2*sec, 1000)
	require.Equal(t, sec, p.Now(), "fixed")
}

// While nothing is missed or used again patience falls, to its bound; what was kept
// rightly holds it up.
func TestPatienceFalls(t *testing.T) {
	p := NewPatience(0)
	looked := func(n int, reused int64) {
		for range n {
			p.Looked(0, reused)
		}
	}
	looked(16*looks, 0)
	require.Equal(t, first, p.Now())
	p.Looked(0, first*3/8)
	looked(16*looks, 0)
	require.Equal(t, first, p.Now())
	looked(1, first*3/8-1)
	require.Equal(t, first/2, p.Now())
	looked(10_000, 0)
	require.Equal(t, least, p.Now())
	require.Equal(t, 50*time.Millisecond, p.Next())
}
