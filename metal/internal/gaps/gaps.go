// Package gaps hands out pieces of address space and takes them back.
package gaps

import (
	"cmp"
	"slices"
)

// List is free address space. A piece comes from the lowest gap that is large
// enough; pieces given back side by side become one gap. The zero value has no
// space. Not safe for concurrent use.
type List struct {
	gaps []gap // ascending; no two touch
}

type gap struct{ start, end int64 }

// Take finds size bytes; false: no gap is as large.
func (l *List) Take(size int64) (start int64, ok bool) {
	for i := range l.gaps {
		g := &l.gaps[i]
		if g.end-g.start < size {
			continue
		}
		start = g.start
		g.start += size
		if g.start == g.end {
			l.gaps = slices.Delete(l.gaps, i, i+1)
		}
		return start, true
	}
	return 0, false
}

// Give adds size bytes at start, or gives them back.
func (l *List) Give(start, size int64) {
	freed := gap{start, start + size}
	i, _ := slices.BinarySearchFunc(l.gaps, freed.start, func(g gap, start int64) int {
		return cmp.Compare(g.start, start)
	})
	from, to := i, i // the gaps that freed merges with
	if i > 0 && l.gaps[i-1].end == freed.start {
		from, freed.start = i-1, l.gaps[i-1].start
	}
	if i < len(l.gaps) && l.gaps[i].start == freed.end {
		to, freed.end = i+1, l.gaps[i].end
	}
	l.gaps = slices.Replace(l.gaps, from, to, freed)
}
