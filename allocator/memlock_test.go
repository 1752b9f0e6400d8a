package allocator_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/testlock"
	"github.com/metalloc/metalloc/metal/host"
)

// hostPage is what the host maps.
const hostPage = 2 * mib

// wiredHost opens a runtime on the host, and says whether its books and the
// device's are at that many bytes.
func wiredHost(t *testing.T) (rt *allocator.Runtime, workingSet int64, wired func(int64)) {
	t.Helper()
	dev, err := host.Open(host.WithMemory(256 * mib))
	require.NoError(t, err)
	rt = open(t, dev)
	return rt, dev.Info().WorkingSet, func(want int64) {
		t.Helper()
		u, err := dev.Usage()
		require.NoError(t, err)
		require.Equal(t, [2]int64{want, want}, [2]int64{rt.Snapshot().Device.Wired, u.Wired})
	}
}

// A system that refuses to lock memory: everything else goes on.
func TestWiringBeyondMemlock(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("locks memory on Linux only")
	}
	if !testlock.InChild(t, 3*hostPage+hostPage/2) {
		return // the child did the rest
	}
	rt, _, wired := wiredHost(t)
	s := newStream(t, rt)
	x := malloc(t, s, 5*hostPage)
	_, err := rt.SetWiredLimit(2 * hostPage)
	require.NoError(t, err)
	wired(2 * hostPage)
	previous, err := rt.SetWiredLimit(5 * hostPage)
	require.ErrorIs(t, err, allocator.ErrLimitExceeded)
	require.ErrorContains(t, err, "RLIMIT_MEMLOCK")
	require.EqualValues(t, 2*hostPage, previous)
	require.EqualValues(t, 2*hostPage, rt.WiredLimit(), "the old limit is kept")
	wired(2 * hostPage)
	y := malloc(t, s, 3*hostPage)
	y.Bytes()[0] = 1
	free(t, x)
	_, err = rt.SetWiredLimit(3 * hostPage)
	require.NoError(t, err)
	wired(3 * hostPage)
	z := malloc(t, s, 9*hostPage) // a malloc never fails for wiring
	identity(t, rt)
	free(t, y, z)
	_, err = rt.ClearCache()
	require.NoError(t, err)
	wired(0)
}

// The wired limit on the host, after MLX's residency tests.
func TestWiringOnTheHost(t *testing.T) {
	rt, workingSet, wired := wiredHost(t)
	if _, err := rt.SetWiredLimit(hostPage); err != nil {
		require.ErrorIs(t, err, allocator.ErrUnsupported)
		t.Skipf("this host can't wire: %v", err)
	}
	_, err := rt.SetWiredLimit(0)
	require.NoError(t, err)
	s := newStream(t, rt)
	x := malloc(t, s, 2*hostPage)
	wired(0)
	set := func(n int64) {
		t.Helper()
		if _, err := rt.SetWiredLimit(n); err != nil {
			require.ErrorIs(t, err, allocator.ErrLimitExceeded)
			t.Skipf("this process may lock too little: %v", err)
		}
	}
	set(hostPage + 5)
	wired(hostPage) // never above the limit
	set(4 * hostPage)
	wired(2 * hostPage) // what exists is wired
	previous, err := rt.SetWiredLimit(workingSet + 1)
	require.ErrorIs(t, err, allocator.ErrInvalidSize)
	require.EqualValues(t, 4*hostPage, previous)
	require.EqualValues(t, 4*hostPage, rt.WiredLimit())
	wired(2 * hostPage)
	for range 20 { // exact over frees and mallocs
		y := malloc(t, s, hostPage)
		wired(3 * hostPage)
		free(t, y)
		wired(3 * hostPage) // cached memory stays wired
		_, err = rt.ClearCache()
		require.NoError(t, err)
		wired(2 * hostPage)
		z := malloc(t, s, 5*hostPage)
		wired(4 * hostPage)
		free(t, z)
		_, err = rt.ClearCache()
		require.NoError(t, err)
		wired(2 * hostPage)
	}
	grown, err := x.Grow(ctx, 3*hostPage)
	require.NoError(t, err)
	wired(3 * hostPage)
	set(hostPage)
	wired(hostPage)
	set(0)
	wired(0)
	free(t, grown)
	wired(0)
}
