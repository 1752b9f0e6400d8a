package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/devicetest"
	"github.com/metalloc/metalloc/metal/internal/pagebook"
)

func TestContractWithOptions(t *testing.T) {
	devicetest.Run(t, func(t *testing.T) metal.Device {
		// Populated and unlimited, random segments would fill the machine.
		d, err := Open(WithHugePages(), WithPopulate(), WithMemory(64<<20))
		require.NoError(t, err)
		return d
	})
}

// TestStaleSlicesNeverFault: until Close, whatever became of the memory.
func TestStaleSlicesNeverFault(t *testing.T) {
	d, err := Open()
	require.NoError(t, err)
	var stale [][]byte
	for range 3 { // the second time addresses are used again
		r, err := d.Reserve(3 * pageSize)
		require.NoError(t, err)
		h, err := d.Create(2 * pageSize)
		require.NoError(t, err)
		require.NoError(t, d.Map(r, 0, []metal.Handle{h}))
		s, err := d.Alloc(2 * pageSize)
		require.NoError(t, err)
		pages, segment := bytesAt(r.Addr, 2*pageSize), bytesAt(s.Addr, s.Size)
		require.Zero(t, pages[pageSize], "what was written through a stale slice is gone")
		require.Zero(t, segment[pageSize])
		pages[pageSize], segment[pageSize] = 7, 7

		require.NoError(t, d.Unmap(r, 0, 2*pageSize))
		require.Zero(t, pages[pageSize])
		pages[pageSize] = 8
		require.NoError(t, d.Release(h))
		require.NoError(t, d.Unreserve(r))
		require.NoError(t, d.Free(s))
		stale = append(stale, pages, segment)
		for _, mem := range stale {
			require.Zero(t, mem[pageSize])
		}
		for _, mem := range stale { // the same addresses, partly
			mem[pageSize] = 9
		}
	}
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
}

// TestAddressesAreUsedAgain: many sizes need little more than the largest.
func TestAddressesAreUsedAgain(t *testing.T) {
	m := &mappings{}
	const most = 200 // pages
	for pages := int64(1); pages <= most; pages++ {
		addr, err := m.Take(pages * pageSize)
		require.NoError(t, err)
		require.Zero(t, addr%pageSize)
		require.NoError(t, m.Give(addr, pages*pageSize))
	}
	held := int64(0)
	for _, h := range m.held {
		held += int64(h.length)
	}
	require.Less(t, held, int64(most*most/4*pageSize), "half of what all of them take side by side")
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
}

func TestPopulate(t *testing.T) {
	d, err := Open(WithPopulate())
	require.NoError(t, err)
	r, hs, giveBack := mapped(t, d, 3)
	mem := bytesAt(r.Addr, r.Size)
	require.Equal(t, r.Size, resident(t, mem))
	require.NoError(t, d.Unmap(r, pageSize, pageSize))
	require.EqualValues(t, 2*pageSize, resident(t, mem))
	require.NoError(t, d.Map(r, pageSize, hs[1:2]))
	require.Equal(t, r.Size, resident(t, mem))
	s, err := d.Alloc(pageSize)
	require.NoError(t, err)
	require.Equal(t, s.Size, resident(t, bytesAt(s.Addr, s.Size)))
	require.NoError(t, d.Free(s))
	require.NoError(t, d.Unmap(r, 0, r.Size))
	giveBack()
}

// TestPopulateFails: ErrOutOfMemory, and nothing has changed.
func TestPopulateFails(t *testing.T) {
	room := int64(noLimit)
	m := &mappings{populate: true, room: func() int64 { return room }}
	book := pagebook.New(pagebook.Config{Unit: pageSize, Memory: 8 * pageSize, MaxBuffer: 8 * pageSize}, m)
	r, err := book.Reserve(2 * pageSize)
	require.NoError(t, err)
	h, err := book.Create(2 * pageSize)
	require.NoError(t, err)
	mem := bytesAt(r.Addr, r.Size)
	fails := func(name string) {
		t.Helper()
		require.ErrorIs(t, book.Map(r, 0, []metal.Handle{h}), metal.ErrOutOfMemory, name)
		_, err := book.Alloc(2 * pageSize)
		require.ErrorIs(t, err, metal.ErrOutOfMemory, name)
		require.Zero(t, resident(t, mem), name)
		u, err := book.Usage()
		require.NoError(t, err)
		require.EqualValues(t, 2*pageSize, u.Taken, name)
		require.NoError(t, book.Unreserve(r), "nothing is mapped")
		r, err = book.Reserve(2 * pageSize)
		require.NoError(t, err)
	}
	m.populated = func(b []byte) error {
		b[0] = 1 // it gets half-way
		return errors.New("the system ran out")
	}
	fails("half-way")
	m.populated = func([]byte) error { panic("not asked for") }
	room = 2*pageSize - 1
	fails("known before")

	m.populated, room = populateMemory, 2*pageSize
	require.NoError(t, book.Map(r, 0, []metal.Handle{h}))
	require.Equal(t, r.Size, resident(t, bytesAt(r.Addr, r.Size)))
}

// TestTouch: where the system can't populate, and an address that isn't a page's
// is such a case.
func TestTouch(t *testing.T) {
	m := &mappings{}
	addr, err := m.Take(pageSize)
	require.NoError(t, err)
	mem := bytesAt(addr, pageSize)
	system := os.Getpagesize()
	mem[0], mem[system] = 7, 7
	require.ErrorIs(t, unix.Madvise(mem[64:], unix.MADV_POPULATE_WRITE), unix.EINVAL)
	require.NoError(t, populateMemory(mem[64:]))
	require.EqualValues(t, pageSize, resident(t, mem))
	require.EqualValues(t, 7, mem[0])
	require.EqualValues(t, 7, mem[system], "contents stay")
	require.NoError(t, m.Close())
}

// TestAdvice looks at the flags that the kernel keeps for a mapping.
func TestAdvice(t *testing.T) {
	plain := &mappings{}
	addr, err := plain.Take(pageSize)
	require.NoError(t, err)
	flags := vmFlags(t, addr)
	require.Contains(t, flags, "dd", "not in core dumps")
	require.NotContains(t, flags, "hg")
	require.NoError(t, plain.Close())

	huge := &mappings{hugePages: true}
	addr, err = huge.Take(pageSize)
	require.NoError(t, err)
	defer func() { require.NoError(t, huge.Close()) }()
	if Examine().HugePages == "" {
		t.Skip("this kernel has no transparent huge pages")
	}
	require.Contains(t, vmFlags(t, addr), "hg")
}

// vmFlags are those of the mapping at addr. See proc_pid_smaps(5).
func vmFlags(t *testing.T, addr uintptr) []string {
	t.Helper()
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skipf("the kernel doesn't show mappings: %v", err)
	}
	defer func() { _ = file.Close() }()
	inside := false
	for s := bufio.NewScanner(file); s.Scan(); {
		var start, end uintptr
		if n, _ := fmt.Sscanf(s.Text(), "%x-%x ", &start, &end); n == 2 {
			inside = start <= addr && addr < end
		}
		if flags, ok := strings.CutPrefix(s.Text(), "VmFlags:"); ok && inside {
			return strings.Fields(flags)
		}
	}
	t.Skip("the kernel doesn't show flags of mappings")
	return nil
}
