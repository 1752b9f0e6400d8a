package streams

// Held sorts a heap's free bytes, its cache and slack, by what keeps them from
// serving a malloc elsewhere.
type Held struct {
	Queued  int64 // queued work may still use them: pending blocks, pages whose last free the queue has not passed
	Shared  int64 // on pages that live blocks hold
	Large   int64 // of Shared, on pages larger than the smallest
	Claimed int64 // where a miss under way has its place
	Free    int64 // on pages that can be given up now
}

// pageUse is what lies on a page besides free blocks, bytes.
type pageUse struct{ live, pending, claimed int64 }

// Held walks all blocks: for reports.
func (h *Heap) Held() (held Held) {
	h.flush()
	for _, z := range h.zones {
		if z == nil {
			continue
		}
		for _, s := range z.segs {
			h.heldOf(s, &held)
		}
	}
	return held
}

// heldOf adds a segment's. Blocks come in address order, so each page is done when
// the next one begins.
func (h *Heap) heldOf(s *segment, held *Held) {
	var p *page
	var use pageUse
	for b := s.first; b != nil; b = b.next {
		if b.state == hole {
			continue
		}
		s.eachPage(b.off, b.end(), func(q *page) {
			if q != p {
				h.holdPage(p, use, held)
				p, use = q, pageUse{}
			}
			n := min(b.end(), q.end()) - max(b.off, q.off)
			switch b.state {
			case live:
				use.live += n
			case pending:
				use.pending += n
			case promised:
				use.claimed += n
			}
		})
	}
	h.holdPage(p, use, held)
}

// holdPage adds a page's free bytes.
func (h *Heap) holdPage(p *page, use pageUse, held *Held) {
	if p == nil {
		return
	}
	rest := p.size - use.live
	held.Queued += use.pending
	held.Claimed += use.claimed
	rest -= use.pending + use.claimed
	switch {
	case use.live > 0:
		held.Shared += rest
		if p.size > h.cfg.PageSize && h.cfg.PageSize > 0 {
			held.Large += rest
		}
	case use.pending > 0 || p.stamp > h.passed:
		held.Queued += rest
	case use.claimed > 0:
		held.Claimed += rest
	default:
		held.Free += rest
	}
}
