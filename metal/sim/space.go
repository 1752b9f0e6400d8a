package sim

import (
	"fmt"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/internal/gaps"
)

// spaceStart is where addresses begin at the least: not at 0, which is no address.
const spaceStart = 1 << 30

// space is the pagebook.Backing of devices that have no memory: it hands out
// addresses and counts what is wired.
type space struct {
	total, wireLimit, wired int64 // wireLimit 0: none
	gaps                    gaps.List
}

func newSpace(start, size, wireLimit int64) *space {
	s := &space{total: size, wireLimit: wireLimit}
	s.gaps.Give(start, size)
	return s
}

func (s *space) Take(size int64) (uintptr, error) {
	addr, ok := s.gaps.Take(size)
	if !ok {
		return 0, fmt.Errorf("no gap of %d bytes is left in %d of address space: %w", size, s.total, metal.ErrOutOfMemory)
	}
	return uintptr(addr), nil
}

func (s *space) Give(addr uintptr, size int64) error {
	s.gaps.Give(int64(addr), size)
	return nil
}

func (s *space) Fill(uintptr, int64) error  { return nil }
func (s *space) Empty(uintptr, int64) error { return nil }
func (s *space) Close() error               { return nil }

func (s *space) Wire(_ uintptr, size int64) error {
	if s.wireLimit > 0 && size > s.wireLimit-s.wired {
		return fmt.Errorf("%d of WireLimit = %d bytes are wired: %w", s.wired, s.wireLimit, metal.ErrLimitExceeded)
	}
	s.wired += size
	return nil
}

func (s *space) Unwire(_ uintptr, size int64) error {
	s.wired -= size
	return nil
}
