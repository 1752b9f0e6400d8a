package streams

import "github.com/metalloc/metalloc/metal"

// segment is one address range with its blocks and pages.
type segment struct {
	rng      metal.Range
	zone     *zone
	pageSize int64
	shift    uint // log2 of pageSize; 63 when the segment is a single page
	pages    []page
	first    *Block
	mapped   int // pages with memory
}

// page is what a device maps. The counters are kept only while the page is
// shared: a page that one block covers alone keeps the values of a free page
// (live 0, all of it cache), so that large blocks cost the same as small ones.
type page struct {
	handle  metal.Handle // 0: no memory here
	live    int64        // bytes of live blocks
	cache   int64        // free bytes counted as cache; the rest of the free ones is slack
	pending int64        // of cache, bytes of pending blocks
	stamp   uint64       // heap clock of the last free that touched it
	fresh   bool         // nothing on it was handed out yet: all cache; what the first block leaves is slack
}

// pageAt gives the page with that index, growing the table: a segment may be
// reserved far larger than it will ever be mapped.
func (s *segment) pageAt(i int64) *page {
	for int64(len(s.pages)) <= i {
		s.pages = append(s.pages, page{})
	}
	return &s.pages[i]
}

func (s *segment) pageIndex(off int64) int64 { return off >> s.shift }

// cover splits a block into the pages that it shares with others (first and
// last, with the bytes that lie in them; 0 bytes: none) and the number of pages
// that it covers alone.
func (s *segment) cover(b *Block) (first, last, headBytes, tailBytes, whole int64) {
	first, last = s.pageIndex(b.off), s.pageIndex(b.end()-1)
	if first == last {
		if b.size == s.pageSize {
			return first, last, 0, 0, 1
		}
		return first, last, b.size, 0, 0
	}
	whole = last - first - 1
	if headBytes = (first+1)<<s.shift - b.off; headBytes == s.pageSize {
		headBytes = 0
		whole++
	}
	if tailBytes = b.end() - last<<s.shift; tailBytes == s.pageSize {
		tailBytes = 0
		whole++
	}
	return first, last, headBytes, tailBytes, whole
}

// charge takes a block that becomes live out of cache and slack.
func (h *Heap) charge(b *Block) {
	s := b.seg
	first, last, head, tail, whole := s.cover(b)
	h.fig.Active += b.size
	h.fig.Cache -= whole * s.pageSize
	if head > 0 {
		h.chargePage(&s.pages[first], head)
	}
	if tail > 0 {
		h.chargePage(&s.pages[last], tail)
	}
}

func (h *Heap) chargePage(p *page, n int64) {
	if p.fresh {
		p.fresh = false
		h.fig.Cache -= p.cache
		h.fig.Slack += p.cache
		p.cache = 0
	}
	fromCache := min(n, p.cache-p.pending)
	p.live += n
	p.cache -= fromCache
	h.fig.Cache -= fromCache
	h.fig.Slack -= n - fromCache
}

// discharge counts a block that stops being live as cache.
func (h *Heap) discharge(b *Block) {
	s := b.seg
	first, last, head, tail, whole := s.cover(b)
	h.fig.Active -= b.size
	h.fig.Cache += whole * s.pageSize
	if head > 0 {
		h.dischargePage(s, &s.pages[first], head)
	}
	if tail > 0 {
		h.dischargePage(s, &s.pages[last], tail)
	}
}

func (h *Heap) dischargePage(s *segment, p *page, n int64) {
	p.live -= n
	p.cache += n
	h.fig.Cache += n
	if p.live == 0 { // no live block left: its slack is cache now
		rest := s.pageSize - p.cache
		p.cache = s.pageSize
		h.fig.Cache += rest
		h.fig.Slack -= rest
	}
}

// eachShared calls f for the pages that b shares, with b's bytes in them.
func (s *segment) eachShared(b *Block, f func(p *page, n int64)) {
	first, last, head, tail, _ := s.cover(b)
	if head > 0 {
		f(&s.pages[first], head)
	}
	if tail > 0 {
		f(&s.pages[last], tail)
	}
}
