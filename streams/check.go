package streams

import (
	"fmt"
	"iter"
	"math"
)

// Check recomputes everything from the blocks and compares. An error names the
// first thing that is broken: the heap must then not hand out memory any more.
func (h *Heap) Check() error {
	var sum Figures
	for _, z := range h.zones {
		if z == nil {
			continue
		}
		for _, s := range z.segs {
			f, err := s.check(z)
			if err != nil {
				return fmt.Errorf("segment %#x: %w", s.rng.Addr, err)
			}
			sum.Requested += f.Requested
			sum.Active += f.Active
			sum.Cache += f.Cache
			sum.Pending += f.Pending
			sum.Slack += f.Slack
		}
	}
	if sum != h.fig {
		return fmt.Errorf("figures are %+v, blocks and pages say %+v", h.fig, sum)
	}
	return nil
}

type pageSum struct {
	live, pending, bytes int64
	alone                bool // one block covers the page
}

func (s *segment) check(z *zone) (f Figures, err error) {
	if s.zone != z {
		return f, fmt.Errorf("belongs to another zone")
	}
	sums := map[*page]*pageSum{}
	var at int64
	for b := s.first; b != nil; b = b.next {
		if err := s.checkBlock(b, at); err != nil {
			return f, err
		}
		at = b.end()
		switch b.state {
		case live:
			f.Requested += b.requested
			f.Active += b.size
		case pending:
			f.Pending += b.size
		}
		if b.state != hole && b.state != parting {
			s.sumPages(b, sums)
		}
	}
	if at != s.rng.Size {
		return f, fmt.Errorf("blocks end at %d of %d", at, s.rng.Size)
	}
	mapped := 0
	s.eachPage(0, math.MaxInt64, func(p *page) {
		mapped++
		cache, slack, pageErr := s.checkPage(p, sums[p])
		if pageErr != nil {
			err = fmt.Errorf("page at %d: %w", p.off, pageErr)
		}
		f.Cache += cache
		f.Slack += slack
	})
	if mapped != s.mapped {
		return f, fmt.Errorf("%d pages are mapped, the count says %d", mapped, s.mapped)
	}
	return f, err
}

func (s *segment) checkBlock(b *Block, at int64) error {
	switch {
	case b.off != at || b.size <= 0 || b.off%Unit != 0 || b.size%Unit != 0 || b.seg != s:
		return fmt.Errorf("%v block [%d, %d) where one should start at %d", b.state, b.off, b.end(), at)
	case b.next != nil && b.next.prev != b:
		return fmt.Errorf("block at %d: its neighbour does not know it", b.off)
	case b.state == room && (b.prev == nil || b.prev.state != live && b.prev.state != promised):
		return fmt.Errorf("room at %d behind no block", b.off)
	case b.next != nil && b.state == b.next.state && (b.state == free || b.state == hole):
		return fmt.Errorf("two %v blocks side by side at %d", b.state, b.off)
	case b.state == room && b.prev.odd.Load()&roomy == 0:
		return fmt.Errorf("block at %d does not know of its room", b.prev.off)
	case b.Used() != (len(b.Uses()) > 0) || b.Used() && b.state != live:
		return fmt.Errorf("%v block at %d is used: %v, by %v", b.state, b.off, b.Used(), b.Uses())
	}
	if b.state == live || b.state == quick || b.state == pending {
		fresh := Block{off: b.off, size: b.size, seg: s}
		if fresh.locate(); fresh.lies != b.lies || fresh.page != b.page || fresh.class != b.class {
			return fmt.Errorf("%v block at %d: class %d, lies as %d, want %d, %d", b.state, b.off, b.class, b.lies, fresh.class, fresh.lies)
		}
	}
	for i, last := s.pageIndex(b.off), s.pageIndex(b.end()-1); i <= last && b.state != promised && b.state != room; i++ {
		if mapped := i < int64(len(s.pages)) && s.pages[i] != nil; mapped != (b.state != hole && b.state != parting) {
			return fmt.Errorf("%v block at %d: page %d mapped: %v", b.state, b.off, i, mapped)
		} else if !mapped && i >= int64(len(s.pages)) {
			break
		}
	}
	return nil
}

// sumPages adds a block's bytes to its pages.
func (s *segment) sumPages(b *Block, sums map[*page]*pageSum) {
	s.eachPage(b.off, b.end(), func(p *page) { // room may lie beyond the last
		n := min(b.end(), p.end()) - max(b.off, p.off)
		t := sums[p]
		if t == nil {
			t = &pageSum{}
			sums[p] = t
		}
		t.bytes += n
		switch b.state {
		case live:
			t.live += n
		case pending:
			t.pending += n
		}
		t.alone = t.alone || n == p.size && b.state != room
	})
}

func (s *segment) checkPage(p *page, t *pageSum) (cache, slack int64, err error) {
	switch {
	case p.handle == 0 || p.size < s.pageSize || p.size%s.pageSize != 0 || p.off%s.pageSize != 0:
		return 0, 0, fmt.Errorf("no page can be %+v", *p)
	case t == nil || t.bytes != p.size:
		return 0, 0, fmt.Errorf("blocks don't cover it: %+v", t)
	case t.alone: // the counters are a free page's
		if p.cache != p.size || p.slack != 0 || p.pending != 0 {
			return 0, 0, fmt.Errorf("covered by one block, but counted %+v", *p)
		}
		return p.size - t.live, 0, nil
	case p.live() != t.live || p.pending != t.pending:
		return 0, 0, fmt.Errorf("blocks sum up to %+v, counted %+v", *t, *p)
	case p.cache < p.pending || p.slack < 0 || p.live() == 0 && p.slack != 0:
		return 0, 0, fmt.Errorf("counted %+v", *p)
	}
	return p.cache, p.slack, nil
}

// LiveBlocks are the live blocks, found by walking all of them.
func (h *Heap) LiveBlocks() iter.Seq[*Block] {
	return func(yield func(*Block) bool) {
		for _, z := range h.zones {
			if z == nil {
				continue
			}
			for _, s := range z.segs {
				for b := s.first; b != nil; b = b.next {
					if b.state == live && !yield(b) {
						return
					}
				}
			}
		}
	}
}
