package host

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/metalloc/metalloc/internal/testlock"
	"github.com/metalloc/metalloc/metal"
)

func wired(t *testing.T, d *Device) int64 {
	t.Helper()
	u, err := d.Usage()
	require.NoError(t, err)
	return u.Wired
}

// TestWireIsExact compares the device's count with the kernel's through cycles of
// wiring, in patterns that split and join mappings.
func TestWireIsExact(t *testing.T) {
	const pages = 3 // what 8 MiB, the usual limit, leave room for
	d, err := Open()
	require.NoError(t, err)
	r, hs, giveBack := mapped(t, d, pages)
	before := memlock().Used
	agree := func(want int64) {
		t.Helper()
		require.Equal(t, want, wired(t, d))
		if before >= 0 {
			require.Equal(t, want, memlock().Used-before, "what the kernel counts")
		}
	}
	at := func(page int) uintptr { return r.Addr + uintptr(page*pageSize) }
	if err := d.Wire(r.Addr, r.Size); errors.Is(err, metal.ErrLimitExceeded) {
		agree(0)
		t.Skipf("%d bytes can't be wired here: %v", r.Size, err)
	} else {
		require.NoError(t, err)
	}
	agree(r.Size)
	require.Equal(t, r.Size, resident(t, bytesAt(r.Addr, r.Size)), "wired memory is there before it is touched")
	for range 50 {
		require.NoError(t, d.Unwire(at(1), pageSize))
		agree(2 * pageSize)
		require.NoError(t, d.Unmap(r, pageSize, pageSize))
		require.NoError(t, d.Map(r, pageSize, hs[1:2]))
		agree(2 * pageSize)
		require.NoError(t, d.Wire(r.Addr, r.Size))
		agree(3 * pageSize)
		require.NoError(t, d.Unwire(at(0), 2*pageSize))
		agree(pageSize)
		require.ErrorIs(t, d.Unmap(r, 0, r.Size), metal.ErrBusy)
		require.NoError(t, d.Wire(at(0), pageSize))
		agree(2 * pageSize)
	}
	require.NoError(t, d.Unwire(r.Addr, r.Size))
	agree(0)

	s, err := d.Alloc(2 * pageSize)
	require.NoError(t, err)
	require.NoError(t, d.Wire(s.Addr, s.Size))
	agree(s.Size)
	require.ErrorIs(t, d.Free(s), metal.ErrBusy)
	require.NoError(t, d.Unwire(s.Addr, s.Size))
	agree(0)
	require.NoError(t, d.Free(s))
	require.NoError(t, d.Unmap(r, 0, r.Size))
	giveBack()
}

// TestWiringIsRefused: with room for one page, more is refused by name and leaves
// nothing half wired, and everything else goes on.
func TestWiringIsRefused(t *testing.T) {
	const limit = 3 << 20
	if !testlock.InChild(t, limit) {
		return
	}
	d, err := Open()
	require.NoError(t, err)
	r, hs, giveBack := mapped(t, d, 3)
	mem := bytesAt(r.Addr, r.Size)
	refused := func(addr uintptr, size int64, text string) {
		t.Helper()
		wiredBefore, lockedBefore := wired(t, d), memlock().Used
		err := d.Wire(addr, size)
		require.ErrorIs(t, err, metal.ErrLimitExceeded)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "ulimit -l")
		require.ErrorContains(t, err, "without CAP_IPC_LOCK")
		require.Equal(t, wiredBefore, wired(t, d))
		require.Equal(t, lockedBefore, memlock().Used)
	}
	for i := range mem {
		mem[i] = byte(i >> 12)
	}
	refused(r.Addr, r.Size, "RLIMIT_MEMLOCK = 3145728 bytes, 0 locked")
	require.NoError(t, d.Wire(r.Addr+pageSize, pageSize))
	refused(r.Addr, pageSize, "RLIMIT_MEMLOCK = 3145728 bytes, 2097152 locked")
	refused(r.Addr, r.Size, "RLIMIT_MEMLOCK")
	s, err := d.Alloc(pageSize)
	require.NoError(t, err)
	refused(s.Addr, s.Size, "RLIMIT_MEMLOCK")
	require.EqualValues(t, pageSize, wired(t, d))

	// With limit 0 the kernel has another errno for it.
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 0, Max: limit}))
	refused(r.Addr, pageSize, "RLIMIT_MEMLOCK = 0 bytes")
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: limit}))

	require.Condition(t, func() bool {
		for _, h := range Examine().Hints {
			if h == "wiring is limited ("+memlock().String()+"): "+raiseMemlock {
				return true
			}
		}
		return false
	}, "Examine tells: %v", Examine().Hints)

	for i := range mem {
		if mem[i] != byte(i>>12) {
			require.Equal(t, byte(i>>12), mem[i], "byte %d", i)
		}
	}
	require.NoError(t, d.Unmap(r, 0, pageSize))
	require.NoError(t, d.Map(r, 0, hs[:1]))
	require.NoError(t, d.Unwire(r.Addr, r.Size))
	require.NoError(t, d.Wire(s.Addr, s.Size), "there is room again")
	require.NoError(t, d.Unwire(s.Addr, s.Size))
	require.NoError(t, d.Free(s))
	require.NoError(t, d.Unmap(r, 0, r.Size))
	giveBack()
}

// TestContractWhereWiringIsRefused: all of the contract but wiring holds.
func TestContractWhereWiringIsRefused(t *testing.T) {
	if testlock.InChild(t, 0) {
		TestContract(t)
	}
}

func TestRefusal(t *testing.T) {
	small := Memlock{Limit: 100, Used: 60}
	for _, c := range []struct {
		err  error
		size int64
		m    Memlock
		want string
	}{
		{unix.ENOMEM, 41, small, "raise it with"},
		{unix.EPERM, 41, Memlock{}, "raise it with"},
		{unix.ENOMEM, 40, small, "vm.max_map_count"},
		{unix.EAGAIN, 40, small, "lacks memory"},
		{unix.ENOMEM, 1 << 40, Memlock{Limit: 100, Capable: true}, "vm.max_map_count"},
	} {
		err := refusal(c.err, c.size, c.m)
		require.ErrorIs(t, err, metal.ErrLimitExceeded)
		require.ErrorIs(t, err, c.err)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, c.m.String())
	}
	require.NotErrorIs(t, refusal(unix.EINVAL, 1, small), metal.ErrLimitExceeded)
}
