package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

func TestWireLimit(t *testing.T) {
	d := openDevice(t, Config{WireLimit: 2 * page})
	r, err := d.Reserve(4 * page)
	require.NoError(t, err)
	h, err := d.Create(4 * page)
	require.NoError(t, err)
	require.NoError(t, d.Map(r, 0, []metal.Handle{h}))
	wired := func() int64 {
		u, err := d.Usage()
		require.NoError(t, err)
		return u.Wired
	}

	require.ErrorIs(t, d.Wire(r.Addr, 3*page), metal.ErrLimitExceeded)
	require.Zero(t, wired())
	require.NoError(t, d.Wire(r.Addr+page, page))
	err = d.Wire(r.Addr, 4*page) // the page before fits, those behind don't
	require.ErrorIs(t, err, metal.ErrLimitExceeded)
	require.ErrorContains(t, err, "WireLimit")
	require.EqualValues(t, page, wired())
	require.NoError(t, d.Wire(r.Addr, 2*page))
	require.EqualValues(t, 2*page, wired())

	require.NoError(t, d.Unwire(r.Addr, 4*page))
	require.Zero(t, wired())
	require.NoError(t, d.Wire(r.Addr+2*page, 2*page))
}

func TestSetPressure(t *testing.T) {
	d := openDevice(t, Config{})
	var first, second []metal.Level
	watch := func(to *[]metal.Level) (stop func()) {
		stop, err := d.WatchPressure(func(l metal.Level) { *to = append(*to, l) })
		require.NoError(t, err)
		return stop
	}
	d.SetPressure(metal.Critical) // nobody watches
	stopFirst := watch(&first)
	d.SetPressure(metal.Normal)
	require.Empty(t, first, "watching starts at Normal")
	d.SetPressure(metal.Warn)
	d.SetPressure(metal.Warn)
	watch(&second)
	d.SetPressure(metal.Critical)
	d.SetPressure(metal.Normal)
	d.SetPressure(metal.Normal)
	stopFirst()
	stopFirst()
	d.SetPressure(metal.Warn)
	require.Equal(t, []metal.Level{metal.Warn, metal.Warn, metal.Critical, metal.Normal}, first)
	require.Equal(t, []metal.Level{metal.Critical, metal.Normal, metal.Warn}, second)

	h, err := d.Create(page)
	require.NoError(t, err)
	require.ErrorIs(t, d.Close(), metal.ErrBusy)
	d.SetPressure(metal.Critical)
	require.Len(t, second, 4, "a Close that was refused changes nothing")
	require.NoError(t, d.Release(h))
	require.NoError(t, d.Close())
	d.SetPressure(metal.Normal)
	require.Len(t, second, 4)
	_, err = d.WatchPressure(func(metal.Level) {})
	require.ErrorIs(t, err, metal.ErrClosed)
	stopFirst()
}

// TestStopWaits: when stop has returned, the function is not running.
func TestStopWaits(t *testing.T) {
	d := openDevice(t, Config{})
	entered, goOn := make(chan struct{}), make(chan struct{})
	running := false // the race detector sees a stop that doesn't wait
	stop, err := d.WatchPressure(func(metal.Level) {
		running = true
		close(entered)
		<-goOn
		running = false
	})
	require.NoError(t, err)
	go d.SetPressure(metal.Warn)
	<-entered
	stopped := make(chan bool)
	go func() {
		stop()
		stopped <- running
	}()
	close(goOn)
	require.False(t, <-stopped)
	require.NoError(t, d.Close())
}
