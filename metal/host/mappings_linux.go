package host

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/internal/gaps"
)

// mappings is the pagebook.Backing of anonymous mappings. Address space that is
// given back stays mapped, empty, for later use: until Close no address that was
// ever handed out faults.
type mappings struct {
	free      gaps.List
	held      []held
	hugePages bool
	populate  bool
	room      func() int64 // bytes that the system can still give
	memlock   func() Memlock
	populated func(b []byte) error // fills b, asking the system; replaced by tests
}

// held is a mapping as the system knows it.
type held struct {
	base   unsafe.Pointer
	length uintptr
}

func (m *mappings) Take(size int64) (uintptr, error) {
	if start, ok := m.free.Take(size); ok {
		addr := uintptr(start)
		if err := m.Empty(addr, size); err != nil { // stale slices may have written there
			m.free.Give(start, size)
			return 0, err
		}
		return addr, nil
	}
	if err := m.grow(size); err != nil {
		return 0, err
	}
	addr, _ := m.free.Take(size)
	return uintptr(addr), nil
}

// grow maps at least size bytes, aligned, readable and writable at once and for
// good: switching protection page by page would split the mapping, and a process
// may only have so many (vm.max_map_count).
func (m *mappings) grow(size int64) error {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
	length := uintptr(size) + pageSize // so that an aligned piece fits
	base, err := unix.MmapPtr(-1, 0, nil, length, prot, flags)
	if err != nil {
		return fmt.Errorf("mmap of %d bytes: %w", length, outOfMemory(err))
	}
	front := padding(uintptr(base), pageSize)
	back := (length - front) % pageSize
	// Without its ragged ends the next mapping comes right beside it, and gaps can
	// join. Where they can't be cut off they only cost addresses.
	h := held{base, length}
	if back > 0 && unix.MunmapPtr(unsafe.Add(base, length-back), back) == nil {
		h.length -= back
	}
	if front > 0 && unix.MunmapPtr(base, front) == nil {
		h = held{unsafe.Add(base, front), h.length - front}
	}
	m.held = append(m.held, h)

	// Nobody wants gigabytes of pooled memory in a core dump. Either advice may be
	// unknown to the kernel, and nothing depends on it.
	start, size := uintptr(base)+front, int64(length-front-back)
	mem := bytesAt(start, size)
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	if m.hugePages {
		_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	}
	m.free.Give(int64(start), size)
	return nil
}

// Give keeps the addresses.
func (m *mappings) Give(addr uintptr, size int64) error {
	if err := m.Empty(addr, size); err != nil {
		return err
	}
	m.free.Give(int64(addr), size)
	return nil
}

// Empty gives the memory back to the system at once and keeps the addresses: they
// read as zero from then on.
func (m *mappings) Empty(addr uintptr, size int64) error {
	if err := unix.Madvise(bytesAt(addr, size), unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("madvise(MADV_DONTNEED): %w", err)
	}
	return nil
}

// Fill asks before it takes: over a control group's limit the system doesn't
// refuse memory but kills.
func (m *mappings) Fill(addr uintptr, size int64) error {
	if !m.populate {
		return nil
	}
	if room := m.room(); size > room {
		return fmt.Errorf("populate %d bytes: the system has %d available: %w", size, room, metal.ErrOutOfMemory)
	}
	mem := bytesAt(addr, size)
	err := m.populated(mem)
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("populate %d bytes: %w: %w", size, metal.ErrOutOfMemory, err), m.Empty(addr, size))
}

// populateMemory has the system fill in memory. Before Linux 5.14 it can't be
// asked to, and each page is touched.
func populateMemory(mem []byte) error {
	err := unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	for errors.Is(err, unix.EINTR) {
		err = unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	}
	if errors.Is(err, unix.EINVAL) {
		touch(mem)
		return nil
	}
	return err
}

// touch writes to each of the system's pages without changing what is there, even
// if someone else writes.
func touch(mem []byte) {
	for i := 0; i < len(mem); i += os.Getpagesize() {
		atomic.AddInt32((*int32)(unsafe.Pointer(&mem[i])), 0)
	}
}

// Wire locks memory, which fills it too.
func (m *mappings) Wire(addr uintptr, size int64) error {
	mem := bytesAt(addr, size)
	err := unix.Mlock(mem)
	if err == nil {
		return nil
	}
	// Memory that can't be filled stays marked as locked when mlock fails.
	return errors.Join(refusal(err, size, m.memlock()), m.Unwire(addr, size))
}

func (m *mappings) Unwire(addr uintptr, size int64) error {
	if err := unix.Munlock(bytesAt(addr, size)); err != nil {
		return fmt.Errorf("munlock of %d bytes: %w", size, err)
	}
	return nil
}

// refusal says which limit stood in the way of an mlock.
func refusal(err error, size int64, m Memlock) error {
	switch {
	case !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("mlock of %d bytes: %w", size, err)
	case errors.Is(err, unix.EPERM) || !m.allows(size):
		return fmt.Errorf("mlock of %d bytes: %v; %s: %w: %w", size, m, raiseMemlock, metal.ErrLimitExceeded, err)
	}
	return fmt.Errorf("mlock of %d bytes: the system lacks memory, or the process has too many mappings (vm.max_map_count); "+
		"it is not the limit (%v): %w: %w", size, m, metal.ErrLimitExceeded, err)
}

// Close unmaps all. If it fails, what is left of it is not handed out again.
func (m *mappings) Close() error {
	m.free = gaps.List{}
	for ; len(m.held) > 0; m.held = m.held[1:] {
		if err := unix.MunmapPtr(m.held[0].base, m.held[0].length); err != nil {
			return fmt.Errorf("munmap: %w", err)
		}
	}
	return nil
}

func outOfMemory(err error) error {
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("%w: %w", metal.ErrOutOfMemory, err)
	}
	return err
}
