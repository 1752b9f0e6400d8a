package streams

import (
	"cmp"
	"math"
	"slices"

	"github.com/metalloc/metalloc/metal"
)

// Page is memory that is mapped, and moves, as one piece.
type Page struct {
	Handle metal.Handle
	Size   int64 // bytes
}

// PageRun is neighbouring pages of one segment, where they have memory. On a
// device that gives whole segments it is one segment.
type PageRun struct {
	Range  metal.Range
	Offset int64
	Size   int64
	Pages  []Page

	// Early: queued work may still go through this place, so it stays mapped until
	// the heap's Parted gives it. On devices with aliases only.
	Early bool
}

// SizeOf sums the runs' bytes.
func SizeOf(runs []PageRun) (n int64) {
	for _, r := range runs {
		n += r.Size
	}
	return n
}

// freePage is a page that lies in a free block, all of it.
type freePage struct {
	block *Block
	page  *page
}

// TakeFree takes free pages out of the heap, least recently freed first, until
// they hold at least n bytes or none is left; no more of them than that takes.
// Their bytes leave the figures; the caller unmaps them and gives them back or
// uses them elsewhere. A page is not free while a pending block or a claim lies on
// it, nor before Pass has said that the stream's own queue is past its last free.
func (h *Heap) TakeFree(n int64) []PageRun {
	if n <= 0 {
		return nil
	}
	return h.TakeOffered(Choose(h.Offers(nil, false), []int64{n}), false)
}

// TakeOlder takes all free pages that were last freed at that clock or before.
func (h *Heap) TakeOlder(clock uint64) []PageRun {
	h.flush()
	return h.takePages(h.freePages(min(clock, h.passed)))
}

// takePages takes these pages, all of them free, out of the heap.
func (h *Heap) takePages(pages []freePage) (runs []PageRun) {
	slices.SortFunc(pages, func(a, b freePage) int {
		return cmp.Or(cmp.Compare(a.block.seg.rng.Addr, b.block.seg.rng.Addr), cmp.Compare(a.page.off, b.page.off))
	})
	for i := 0; i < len(pages); {
		j := i + 1
		for j < len(pages) && pages[j].block == pages[i].block {
			j++
		}
		runs = h.carve(runs, pages[i:j])
		i = j
	}
	return runs
}

// freePages lists the pages that lie within free blocks, last freed at that
// clock or before. The list is valid until the next call.
func (h *Heap) freePages(clock uint64) []freePage {
	pages := h.pages[:0]
	from := 0
	if h.cfg.PageSize > 0 {
		from = classOf(h.cfg.PageSize)
	}
	for _, z := range h.zones {
		if z == nil {
			continue
		}
		for c := z.set.next(from); c >= 0; c = z.set.next(c + 1) {
			for b := z.bins[c].head; b != nil; b = b.listNext {
				pages = b.appendPages(pages, b.off, b.end(), clock)
			}
		}
	}
	h.pages = pages
	return pages
}

// appendPages adds the whole pages of the free block b that overlap [from, to)
// and were last freed at that clock or before.
func (b *Block) appendPages(pages []freePage, from, to int64, clock uint64) []freePage {
	b.seg.eachPage(from, to, func(p *page) {
		if p.stamp <= clock && p.within(b) {
			pages = append(pages, freePage{b, p})
		}
	})
	return pages
}

// carve turns pages of one free block, in address order, into holes.
func (h *Heap) carve(runs []PageRun, pages []freePage) []PageRun {
	b := pages[0].block
	s := b.seg
	s.zone.removeFree(b)
	if s.shift == 63 {
		return append(runs, h.dropSegment(s))
	}
	b.state = promised
	for len(pages) > 0 {
		n, early := 1, pages[0].page.stamp > h.passed
		for n < len(pages) && pages[n].page.off == pages[n-1].page.end() && (pages[n].page.stamp > h.passed) == early {
			n++
		}
		run := s.take(pages[:n])
		run.Early = early
		stamp := youngest(pages[:n])
		pages = pages[n:]
		h.fig.Cache -= run.Size
		runs = append(runs, run)
		if b.off < run.Offset {
			rest := h.cut(b, run.Offset-b.off)
			s.zone.addFree(b)
			b = rest
		}
		var rest *Block
		if b.size > run.Size {
			rest = h.cut(b, run.Size)
		}
		if early {
			h.part(b, run, stamp)
		} else {
			h.mergeHole(b)
		}
		b = rest
	}
	if b != nil {
		s.zone.addFree(b)
	}
	return runs
}

// take takes the memory of pages side by side.
func (s *segment) take(pages []freePage) PageRun {
	run := PageRun{Range: s.rng, Offset: pages[0].page.off, Pages: make([]Page, 0, len(pages))}
	for _, f := range pages {
		run.Pages = append(run.Pages, Page{f.page.handle, f.page.size})
		run.Size += f.page.size
		s.dropPage(f.page)
	}
	return run
}

// dropSegment removes a whole segment whose only block, in no list, is free.
func (h *Heap) dropSegment(s *segment) PageRun {
	h.fig.Cache -= s.pageSize
	run := PageRun{Range: s.rng, Size: s.pageSize, Pages: []Page{{s.pages[0].handle, s.pageSize}}}
	z := s.zone
	z.segs = slices.DeleteFunc(z.segs, func(t *segment) bool { return t == s })
	h.unlink(s.first)
	return run
}

// ReduceCache brings the cache down by n bytes, or as far as it goes: free
// pages, which it returns, least recently freed first; then cached bytes on
// pages that live blocks hold, which become slack. Pending blocks stay.
func (h *Heap) ReduceCache(n int64) []PageRun {
	last := h.last
	var s *segment
	var from, to int64
	if last != nil && (last.state == quick || last.state == pending) { // most often the cause
		s, from, to = last.seg, last.off, last.end()
	}
	before := h.fig.Cache
	runs := h.TakeFree(n)
	left := n - (before - h.fig.Cache)
	if s != nil && left > 0 {
		s.eachPage(from, to, func(p *page) { left -= h.slackPage(p, left) })
	}
	for _, z := range h.zones {
		if z == nil || left <= 0 {
			continue
		}
		for _, s := range z.segs {
			s.eachPage(0, math.MaxInt64, func(p *page) { left -= h.slackPage(p, left) })
		}
	}
	return runs
}

// slackPage counts up to n of the page's cached bytes as slack, if a live block
// holds the page.
func (h *Heap) slackPage(p *page, n int64) int64 {
	if p.live() == 0 {
		return 0
	}
	d := min(n, p.cache-p.pending)
	p.cache -= d
	p.slack += d
	h.fig.Cache -= d
	h.fig.Slack += d
	return d
}

// Clear gives up all that can be reused: free pages, which it returns; what
// shares a page with a live block becomes slack. Pending blocks follow when they
// are settled.
func (h *Heap) Clear() []PageRun {
	for _, w := range h.queues {
		for _, x := range w.waiting() {
			if !x.block.drop {
				x.block.drop = true
				h.dropping++
			}
		}
	}
	return h.ReduceCache(math.MaxInt64 / 2)
}

// dropBlock gives up what a just settled block frees.
func (h *Heap) dropBlock(b *Block) []PageRun {
	s, from, to := b.seg, b.off, b.end()
	s.eachShared(b, func(p *page, n int64) { h.slackPage(p, n) })
	s.touch(b)
	return h.takePages(h.merge(b).appendPages(nil, from, to, h.passed))
}

// TakeRanges removes the segments without pages and returns their address
// ranges. Old slices of them fault once the caller has unreserved them.
func (h *Heap) TakeRanges() (rs []metal.Range) {
	for _, z := range h.zones {
		if z == nil {
			continue
		}
		z.segs = slices.DeleteFunc(z.segs, func(s *segment) bool {
			if s.mapped != 0 || s.first.state != hole || s.first.next != nil {
				return false
			}
			z.holes.remove(s.first)
			h.unlink(s.first)
			rs = append(rs, s.rng)
			return true
		})
	}
	return rs
}
