package devicetest

import (
	"unsafe"

	"github.com/stretchr/testify/require"
)

// checkPageContents: mapped pages hold what is written to them, one handle after
// the other, and new ones are zero if the device says so.
func checkPageContents(s *subject) {
	r := s.reserve(8)
	for range 3 { // the second time the device has dirty memory to give
		hs := s.create(1, 2, 1)
		s.mapAt(r, 2, hs...)
		mem := bytesAt(r.Addr+uintptr(2*s.page), 4*s.page)
		s.zeroed(mem)
		write(mem)
		s.holds(mem)

		s.unmap(r, 2, 4)
		s.release(hs...)
	}
	s.unreserve(r)
}

func checkSegmentContents(s *subject) {
	for range 3 {
		a, b := s.alloc(1<<20+1), s.alloc(1)
		mem := bytesAt(a.Addr, a.Size)
		s.zeroed(mem)
		s.zeroed(bytesAt(b.Addr, b.Size))
		write(mem)
		clear(bytesAt(b.Addr, b.Size))
		s.holds(mem)
		write(bytesAt(b.Addr, b.Size))
		s.holds(mem)
		s.free(a)
		s.free(b)
	}
}

// stride is odd, so that the places looked at are not the same in each page.
const stride = 509

func (s *subject) zeroed(mem []byte) {
	if !s.info.Zeroed {
		return
	}
	for i := 0; i < len(mem); i += stride {
		require.Zero(s, mem[i], "new memory at byte %d of %d", i, len(mem))
	}
}

func write(mem []byte) {
	for i := range mem {
		mem[i] = pattern(i)
	}
}

func (s *subject) holds(mem []byte) {
	for i := 0; i < len(mem); i += stride {
		require.Equal(s, pattern(i), mem[i], "byte %d of %d", i, len(mem))
	}
}

func pattern(i int) byte { return byte(i>>12*7+i*3) | 1 }

// bytesAt is the memory at an address that a device gave. The detour keeps vet,
// which can't know that these addresses don't move, from objecting.
func bytesAt(addr uintptr, size int64) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), size)
}
