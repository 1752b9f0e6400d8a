package host

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

func TestStallLevel(t *testing.T) {
	for text, want := range map[string]metal.Level{
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n":     metal.Normal,
		"some avg10=4.99 avg60=50.00 avg300=0.00 total=0\nfull avg10=4.99 avg60=90.00 avg300=0.00 total=0\n":   metal.Normal,
		"some avg10=5.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n":     metal.Warn,
		"some avg10=99.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=4.99 avg60=0.00 avg300=0.00 total=0\n":    metal.Warn,
		"some avg10=6.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=5.00 avg60=0.00 avg300=0.00 total=0\n":     metal.Critical,
		"some avg10=97.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=90.00 avg60=0.00 avg300=0.00 total=12\n": metal.Critical,
		"some avg10=97.00": metal.Warn,
		"some avg10=many":  metal.Normal,
		"some":             metal.Normal,
		"":                 metal.Normal,
	} {
		require.Equal(t, want, stallLevel(text), "%q", text)
	}
}

func TestGroupEvents(t *testing.T) {
	base := parseEvents("low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n")
	require.Equal(t, groupEvents{3, 7}, base)
	for text, want := range map[string]metal.Level{
		"low 9\nhigh 1\nmax 2\noom 3\noom_kill 4\n": metal.Normal,
		"low 0\nhigh 2\nmax 2\noom 3\noom_kill 4\n": metal.Warn,
		"low 0\nhigh 1\nmax 3\noom 3\noom_kill 4\n": metal.Warn,
		"low 0\nhigh 2\nmax 3\noom 4\noom_kill 4\n": metal.Critical,
		"low 0\nhigh 1\nmax 2\noom 3\noom_kill 5\n": metal.Critical,
		"high x\nmax\n-\n":                          metal.Normal,
		"":                                          metal.Normal,
	} {
		require.Equal(t, want, parseEvents(text).since(base), "%q", text)
	}
}

func TestGauge(t *testing.T) {
	const ms = time.Millisecond
	var g gauge
	at := func(now time.Duration, sign, want metal.Level, told bool) {
		t.Helper()
		if sign != metal.Normal {
			g.sign(sign, now)
		}
		l, ok := g.tell(now, sign != metal.Normal)
		require.Equal(t, want, l, "level at %v", now)
		require.Equal(t, told, ok, "told at %v", now)
	}
	require.Negative(t, g.over(0))
	at(0, metal.Normal, metal.Normal, false)
	at(10*ms, metal.Warn, metal.Warn, true)
	require.Equal(t, levelHold, g.over(10*ms))
	at(20*ms, metal.Warn, metal.Warn, false)        // told a moment ago
	at(30*ms, metal.Critical, metal.Critical, true) // but this is new
	at(40*ms, metal.Warn, metal.Critical, false)
	at(30*ms+levelRepeat, metal.Normal, metal.Critical, false) // nothing new
	at(30*ms+levelRepeat, metal.Warn, metal.Critical, true)
	at(30*ms+levelHold, metal.Normal, metal.Warn, true) // one after the other is over
	require.Equal(t, levelRepeat, g.over(30*ms+levelHold))
	at(30*ms+levelRepeat+levelHold, metal.Normal, metal.Normal, true)
	at(time.Hour, metal.Normal, metal.Normal, false)
	require.Negative(t, g.over(time.Hour))
}
