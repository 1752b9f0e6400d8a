package sim

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/metalloc/metalloc/metal"
)

// spaceStart is where addresses begin at the least: not at 0, which is no address.
const spaceStart = 1 << 30

// space hands out address space, the lowest gap that is large enough. It is the
// pagebook.Backing of devices that have no memory.
type space struct {
	total int64
	gaps  []gap // ascending; no two touch
}

type gap struct{ start, end int64 }

func newSpace(start, size int64) *space {
	return &space{total: size, gaps: []gap{{start, start + size}}}
}

func (s *space) Take(size int64) (uintptr, error) {
	for i := range s.gaps {
		g := &s.gaps[i]
		if g.end-g.start < size {
			continue
		}
		addr := g.start
		g.start += size
		if g.start == g.end {
			s.gaps = slices.Delete(s.gaps, i, i+1)
		}
		return uintptr(addr), nil
	}
	return 0, fmt.Errorf("no gap of %d bytes is left in %d of address space: %w", size, s.total, metal.ErrOutOfMemory)
}

func (s *space) Give(addr uintptr, size int64) error {
	freed := gap{int64(addr), int64(addr) + size}
	i, _ := slices.BinarySearchFunc(s.gaps, freed.start, func(g gap, start int64) int {
		return cmp.Compare(g.start, start)
	})
	from, to := i, i // the gaps that freed merges with
	if i > 0 && s.gaps[i-1].end == freed.start {
		from, freed.start = i-1, s.gaps[i-1].start
	}
	if i < len(s.gaps) && s.gaps[i].start == freed.end {
		to, freed.end = i+1, s.gaps[i].end
	}
	s.gaps = slices.Replace(s.gaps, from, to, freed)
	return nil
}

func (s *space) Empty(uintptr, int64, int64) error { return nil }
