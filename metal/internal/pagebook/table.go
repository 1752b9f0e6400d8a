package pagebook

import (
	"iter"

	"github.com/metalloc/metalloc/metal"
)

// chunkPages entries of a range's page table are made at a time, on first use:
// address space is reserved far ahead of memory.
const chunkPages = 512

// pageRange is one reserved range. Its page table says which handle is mapped
// at each page, and with wiredBit set that the page is wired; 0: none.
type pageRange struct {
	metal.Range
	chunks map[int64]*[chunkPages]metal.Handle
	mapped int // handles
}

// wiredBit is one that no handle reaches by counting up.
const wiredBit metal.Handle = 1 << 63

func (r *pageRange) entry(page int64) metal.Handle {
	c := r.chunks[page/chunkPages]
	if c == nil {
		return 0
	}
	return c[page%chunkPages]
}

func (r *pageRange) at(page int64) metal.Handle { return r.entry(page) &^ wiredBit }
func (r *pageRange) wired(page int64) bool      { return r.entry(page)&wiredBit != 0 }

// setWired changes pages [from, to), which are mapped.
func (r *pageRange) setWired(from, to int64, wired bool) {
	for ; from < to; from++ {
		e := &r.chunks[from/chunkPages][from%chunkPages]
		if wired {
			*e |= wiredBit
		} else {
			*e &^= wiredBit
		}
	}
}

// fill writes h, not wired, to pages [from, to).
func (r *pageRange) fill(from, to int64, h metal.Handle) {
	for from < to {
		c := r.chunks[from/chunkPages]
		if c == nil {
			c = new([chunkPages]metal.Handle)
			r.chunks[from/chunkPages] = c
		}
		for end := min(to, (from/chunkPages+1)*chunkPages); from < end; from++ {
			c[from%chunkPages] = h
		}
	}
}

// span is the pages [from, to).
type span struct{ from, to int64 }

// runs are the longest stretches of pages in [from, to) that are wired, or that
// are not. A run may be changed once it has been yielded.
func (r *pageRange) runs(from, to int64, wired bool) iter.Seq[span] {
	return func(yield func(span) bool) {
		for page := from; page < to; page++ {
			if r.wired(page) != wired {
				continue
			}
			start := page
			for page < to && r.wired(page) == wired {
				page++
			}
			if !yield(span{start, page}) {
				return
			}
		}
	}
}
