package streams

import "github.com/metalloc/metalloc/metal"

// segment is one address range with its blocks and pages.
type segment struct {
	rng      metal.Range
	zone     *zone
	pageSize int64
	shift    uint    // log2 of pageSize; 63 when the segment is a single page
	pages    []*page // by their place in units of pageSize; nil: no memory there
	first    *Block
	mapped   int // pages, each counted once
}

// page is what a device maps as one piece, with one handle: pageSize or a multiple
// of it. A larger one is in the table several times, side by side. Its free bytes
// are cache or slack, what is left of it is live. That is counted only while the
// page is shared: one that a block covers alone keeps the values of a free page
// (all of it cache), so that large blocks cost the same as small ones.
type page struct {
	off, size int64
	cache     int64 // free bytes counted as cache
	pending   int64 // of cache, bytes of pending blocks
	slack     int64 // the other free bytes
	handle    metal.Handle
	stamp     uint64 // heap clock of the last free that touched it
	fresh     bool   // nothing on it was handed out yet: all cache; what the first block leaves is slack
}

func (p *page) live() int64 { return p.size - p.cache - p.slack }
func (p *page) end() int64  { return p.off + p.size }

// within reports whether the page lies in the block, all of it.
func (p *page) within(b *Block) bool { return b.off <= p.off && p.end() <= b.end() }

// lies says how a block lies on its pages.
type lies uint8

const (
	within lies = iota // on one page, which it shares
	alone              // shares none
	across             // shares its first or its last page, or both, and has others
)

func (s *segment) pageIndex(off int64) int64 { return off >> s.shift }

// pageAt gives the page that has the byte at off, or nil. The table ends where
// memory ends: a segment may be reserved far larger than it will ever be mapped.
func (s *segment) pageAt(off int64) *page {
	if i := s.pageIndex(off); i < int64(len(s.pages)) {
		return s.pages[i]
	}
	return nil
}

// setPage enters a page in the table.
func (s *segment) setPage(p *page) {
	first, end := s.pageIndex(p.off), s.pageIndex(p.end()-1)+1
	if n := end - int64(len(s.pages)); n > 0 {
		s.pages = append(s.pages, make([]*page, n)...)
	}
	for i := first; i < end; i++ {
		s.pages[i] = p
	}
	s.mapped++
}

// dropPage takes it out.
func (s *segment) dropPage(p *page) {
	clear(s.pages[s.pageIndex(p.off) : s.pageIndex(p.end()-1)+1])
	s.mapped--
}

// eachPage calls f for the pages that lie in [from, to), or partly so.
func (s *segment) eachPage(from, to int64, f func(*page)) {
	to = min(to, int64(len(s.pages))<<s.shift)
	if s.shift == 63 {
		to = s.pageSize
	}
	for from < to {
		p := s.pages[s.pageIndex(from)]
		if p == nil {
			from = (s.pageIndex(from) + 1) << s.shift
			continue
		}
		f(p)
		from = p.end()
	}
}

// cover gives the pages that b shares with others, nil where there is none, and
// b's bytes in them; its other bytes lie on pages that it covers alone. A block
// within one page has a head at most.
func (s *segment) cover(b *Block) (head, tail *page, headBytes, tailBytes int64) {
	first := s.pages[s.pageIndex(b.off)]
	if b.end() <= first.end() {
		if b.size == first.size {
			return nil, nil, 0, 0
		}
		return first, nil, b.size, 0
	}
	if b.off != first.off {
		head, headBytes = first, first.end()-b.off
	}
	if last := s.pages[s.pageIndex(b.end()-1)]; b.end() != last.end() {
		tail, tailBytes = last, b.end()-last.off
	}
	return head, tail, headBytes, tailBytes
}

// eachShared calls f for the pages that b shares, with b's bytes in them.
func (s *segment) eachShared(b *Block, f func(p *page, n int64)) {
	head, tail, headBytes, tailBytes := s.cover(b)
	if head != nil {
		f(head, headBytes)
	}
	if tail != nil {
		f(tail, tailBytes)
	}
}

// locate notes in a block that is to be handed out what each charge and discharge
// of it needs. It stays true until the block is merged or grows.
func (b *Block) locate() {
	b.class = uint16(classOf(b.size))
	switch head, tail, headBytes, _ := b.seg.cover(b); {
	case head == nil && tail == nil:
		b.lies, b.page = alone, nil
	case headBytes == b.size:
		b.lies, b.page = within, head
	default:
		b.lies, b.page = across, nil
	}
}

// unfresh: the first block on a page leaves the rest of it as slack.
func (h *Heap) unfresh(p *page, _ int64) {
	if p.fresh {
		p.fresh = false
		h.fig.Cache -= p.cache
		h.fig.Slack += p.cache
		p.cache, p.slack = 0, p.cache
	}
}

func (h *Heap) chargeAcross(b *Block) {
	head, tail, headBytes, tailBytes := b.seg.cover(b)
	h.fig.Cache -= b.size - headBytes - tailBytes
	if head != nil {
		h.chargePage(head, headBytes)
	}
	if tail != nil {
		h.chargePage(tail, tailBytes)
	}
}

// chargePage takes n bytes of the page from cache, and from slack what cache
// lacks.
func (h *Heap) chargePage(p *page, n int64) {
	if cache := p.cache - p.pending; n > cache {
		p.slack -= n - cache
		h.fig.Slack -= n - cache
		n = cache
	}
	p.cache -= n
	h.fig.Cache -= n
}

func (h *Heap) dischargeAcross(b *Block) {
	head, tail, headBytes, tailBytes := b.seg.cover(b)
	h.fig.Cache += b.size - headBytes - tailBytes
	if head != nil {
		h.dischargePage(head, headBytes)
	}
	if tail != nil {
		h.dischargePage(tail, tailBytes)
	}
}

// dischargePage makes n bytes of the page cache, and the slack as well when no
// live block is left on it.
func (h *Heap) dischargePage(p *page, n int64) {
	if p.slack != 0 && p.cache+p.slack+n == p.size {
		n += p.slack
		h.fig.Slack -= p.slack
		p.slack = 0
	}
	p.cache += n
	h.fig.Cache += n
}
