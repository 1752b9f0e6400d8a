package host

import (
	"bytes"
	"os"
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/metalloc/metalloc/metal"
)

// mapped gives n pages, each a handle, mapped in a range of their own, and what
// gives everything back.
func mapped(t *testing.T, d *Device, n int64) (metal.Range, []metal.Handle, func()) {
	t.Helper()
	r, err := d.Reserve(n * pageSize)
	require.NoError(t, err)
	hs := make([]metal.Handle, n)
	for i := range hs {
		hs[i], err = d.Create(pageSize)
		require.NoError(t, err)
	}
	require.NoError(t, d.Map(r, 0, hs))
	return r, hs, func() {
		for _, h := range hs {
			require.NoError(t, d.Release(h))
		}
		require.NoError(t, d.Unreserve(r))
		require.NoError(t, d.Close())
	}
}

// resident is how much of mem the system has given memory for, in bytes.
func resident(t *testing.T, mem []byte) int64 {
	t.Helper()
	systemPage := os.Getpagesize()
	in := make([]byte, len(mem)/systemPage)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE,
		uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&in[0])))
	require.Zero(t, errno)
	n := 0
	for _, page := range in {
		n += int(page & 1)
	}
	return int64(n * systemPage)
}

func TestUnmapGivesMemoryBack(t *testing.T) {
	const pages = 8
	d, err := Open()
	require.NoError(t, err)
	r, _, giveBack := mapped(t, d, pages)
	mem := bytesAt(r.Addr, r.Size)
	require.Zero(t, resident(t, mem), "nothing was touched")
	for i := range mem {
		mem[i] = 7
	}
	require.Equal(t, r.Size, resident(t, mem))

	require.NoError(t, d.Unmap(r, pageSize, r.Size-pageSize))
	require.EqualValues(t, pageSize, resident(t, mem))
	require.EqualValues(t, 7, mem[pageSize-1], "the page that stayed mapped")
	require.Zero(t, mem[pageSize], "a stale slice reads zero and does not fault")
	require.NoError(t, d.Unmap(r, 0, pageSize))
	giveBack()
}

func TestMappingsAreNotSplit(t *testing.T) {
	count := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		require.NoError(t, err)
		return bytes.Count(maps, []byte("\n"))
	}
	const pages = 1000
	d, err := Open()
	require.NoError(t, err)
	r, hs, giveBack := mapped(t, d, pages)
	before := count()
	for i := int64(0); i < pages; i += 2 { // every other page
		require.NoError(t, d.Unmap(r, i*pageSize, pageSize))
	}
	require.Less(t, count(), before+pages/10)
	for i := int64(0); i < pages; i += 2 {
		require.NoError(t, d.Map(r, i*pageSize, hs[i:i+1]))
	}
	require.NoError(t, d.Unmap(r, 0, r.Size))
	giveBack()
}

func TestUnreserveGivesAddressesBack(t *testing.T) {
	addressSpace := func() int64 {
		statm, err := os.ReadFile("/proc/self/statm")
		require.NoError(t, err)
		pages, err := strconv.ParseInt(string(bytes.Fields(statm)[0]), 10, 64)
		require.NoError(t, err)
		return pages * int64(os.Getpagesize())
	}
	d, err := Open()
	require.NoError(t, err)
	before := addressSpace()
	for range 1000 {
		r, err := d.Reserve(pageSize)
		require.NoError(t, err)
		require.NoError(t, d.Unreserve(r))
	}
	require.Less(t, addressSpace()-before, int64(500*pageSize), "the program itself takes some, too")
	require.NoError(t, d.Close())
}

func TestAddressSpaceRunsOut(t *testing.T) {
	d, err := Open()
	require.NoError(t, err)
	_, err = d.Reserve(1 << 62)
	require.ErrorIs(t, err, metal.ErrOutOfMemory)
	require.ErrorIs(t, err, unix.ENOMEM)
	require.NoError(t, d.Close())
}

// TestSystemRefuses: memory locked behind the device's back can't be given back,
// and stays mapped.
func TestSystemRefuses(t *testing.T) {
	d, err := Open()
	require.NoError(t, err)
	r, hs, giveBack := mapped(t, d, 1)
	locked := bytesAt(r.Addr, int64(os.Getpagesize()))
	if err := unix.Mlock(locked); err != nil {
		t.Skipf("mlock of one page: %v", err)
	}
	require.ErrorIs(t, d.Unmap(r, 0, pageSize), unix.EINVAL)
	require.ErrorIs(t, d.Release(hs[0]), metal.ErrBusy)
	require.NoError(t, unix.Munlock(locked))
	require.NoError(t, d.Unmap(r, 0, pageSize))
	giveBack()
}
