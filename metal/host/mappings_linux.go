package host

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/metalloc/metalloc/metal"
)

// mappings is the pagebook.Backing of anonymous mappings, by the address in them
// that was handed out.
type mappings map[uintptr]mapping

// mapping is as the system knows it: a page longer than what was asked for, so
// that an aligned piece fits. The rest is never touched and so costs no memory.
type mapping struct {
	base   unsafe.Pointer
	length uintptr
	start  unsafe.Pointer // the aligned piece
}

// Take maps the whole of it readable and writable at once and for good:
// switching protection page by page would split the mapping, and a process may
// only have so many (vm.max_map_count).
func (m mappings) Take(size int64) (uintptr, error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
	length := uintptr(size) + pageSize
	base, err := unix.MmapPtr(-1, 0, nil, length, prot, flags)
	if err != nil {
		return 0, fmt.Errorf("mmap of %d bytes: %w", length, outOfMemory(err))
	}
	start := unsafe.Add(base, padding(uintptr(base), pageSize))
	m[uintptr(start)] = mapping{base, length, start}
	return uintptr(start), nil
}

func (m mappings) Give(addr uintptr, _ int64) error {
	if err := unix.MunmapPtr(m[addr].base, m[addr].length); err != nil {
		return fmt.Errorf("munmap: %w", err)
	}
	delete(m, addr)
	return nil
}

// Empty gives the memory back to the system at once and keeps the addresses: they
// read as zero from then on.
func (m mappings) Empty(base uintptr, offset, size int64) error {
	mem := unsafe.Slice((*byte)(unsafe.Add(m[base].start, offset)), size)
	if err := unix.Madvise(mem, unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("madvise(MADV_DONTNEED): %w", err)
	}
	return nil
}

func outOfMemory(err error) error {
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("%w: %w", metal.ErrOutOfMemory, err)
	}
	return err
}
