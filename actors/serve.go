package actors

import (
	"slices"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// This file is what the metal actor does for a miss, and how that is undone.

// serve does the device work of a miss. Whatever fails, what was done so far is
// in t.work, for undo.
func (m *metalActor) serve(t *ticket) stage {
	var err error
	if t.plan.Segment > 0 {
		err = m.serveSegment(t)
	} else {
		err = m.servePages(t)
	}
	if err != nil {
		t.err, t.failed = err, true
		return undo
	}
	return book
}

func (m *metalActor) serveSegment(t *ticket) error {
	w := &t.work
	if len(w.moves) == 1 && streams.Serves(w.moves[0].Size, t.plan.Segment) {
		l := w.moves[0]
		w.rng, w.pages, w.moves = l.Range, l.Pages, nil
		l.Pages, l.Size = nil, 0 // it has arrived
		m.forget()
		return nil
	}
	if err := m.returnMoves(t); err != nil {
		return err
	}
	err := m.taken(callAlloc, func() (err error) {
		t.work.segment, err = m.segmenter.Alloc(t.plan.Segment)
		return err
	})
	if err != nil {
		return err
	}
	s := t.work.segment
	t.work.rng = metal.Range{Addr: s.Addr, Size: s.Size}
	t.work.pages = []streams.Page{{Handle: s.Handle, Size: s.Size}}
	t.work.created = s.Size
	m.wire(s.Addr, s.Size)
	return nil
}

func (m *metalActor) servePages(t *ticket) error {
	w := &t.work
	if err := m.reserve(t.plan.Reserve, w); err != nil {
		return err
	}
	if t.plan.Reserve > 0 {
		w.spans = t.plan.Spans(w.rng)
	}
	if len(w.spans) > 0 {
		if err := m.vacate(w.spans[0].Range); err != nil {
			return err
		}
	}
	if err := m.fill(t); err != nil {
		return err
	}
	for i := range w.pages {
		if err := m.create(w, &w.pages[i]); err != nil {
			return err
		}
	}
	rest := w.pages
	for _, s := range w.spans {
		n := under(s, rest)
		handles := make([]metal.Handle, n)
		for i, p := range rest[:n] {
			handles[i] = p.Handle
		}
		err := m.timed(callMap, func() error { return m.pager.Map(s.Range, s.Offset, handles) })
		if err != nil {
			return err
		}
		rest = rest[n:]
		w.mapped++
		m.wire(s.Range.Addr+uintptr(s.Offset), s.Size)
	}
	return nil
}

// fill decides which page comes where. Those on their way that fit nowhere are
// released first: as much is created anew, in sizes that do.
func (m *metalActor) fill(t *ticket) error {
	w := &t.work
	for _, l := range w.moves {
		if err := m.unmapLeaving(l); err != nil {
			return err
		}
		w.pages = append(w.pages, l.Pages...)
		l.Pages, l.Size = nil, 0 // they have arrived
	}
	w.moves = nil
	m.forget()
	var left []streams.Page
	w.pages, left = streams.Fill(w.spans, w.pages, m.largest(t))
	if len(left) == 0 {
		return nil
	}
	return m.giveBackFor(t, m.leavePages(left), uncreated(w.pages))
}

// giveBackFor gives memory that was on its way to a ticket's place back to the
// device. That is booked here, so that what is taken next makes no peak, and need,
// what the ticket will take in all, is promised to it: the room is the ticket's,
// whoever else asks now.
func (m *metalActor) giveBackFor(t *ticket, l *leaving, need int64) error {
	size := l.Size
	m.giveBack(l)
	gone := size - l.Size
	t.work.moved -= size
	m.released -= gone
	more := max(0, need-t.promised)
	t.promised += more
	m.core.ledger.Arrived(&t.stream.row, -more, -gone, -size)
	m.forget()
	return l.refusal
}

// returnMoves gives back whole segments that make room for one that none of them
// can be.
func (m *metalActor) returnMoves(t *ticket) error {
	w := &t.work
	for len(w.moves) > 0 {
		l := w.moves[0]
		l.kept, w.moves = false, w.moves[1:]
		if err := m.giveBackFor(t, l, t.plan.Segment); err != nil {
			return err
		}
	}
	return nil
}

// uncreated sums the pages that are still to be created.
func uncreated(pages []streams.Page) (n int64) {
	for _, p := range pages {
		if p.Handle == 0 {
			n += p.Size
		}
	}
	return n
}

// leavePages is leave for pages that are mapped nowhere.
func (m *metalActor) leavePages(pages []streams.Page) *leaving {
	r := run{Pages: pages}
	for _, p := range pages {
		r.Size += p.Size
	}
	l := m.leave(runs{r}, false)[0]
	l.unmapped = true
	return l
}

func (m *metalActor) create(w *work, p *streams.Page) error {
	if p.Handle != 0 {
		return nil
	}
	err := m.taken(callCreate, func() (err error) {
		p.Handle, err = m.pager.Create(p.Size)
		return err
	})
	if err == nil {
		w.created += p.Size
	}
	return err
}

// under is how many of the pages lie in the run.
func under(r run, pages []streams.Page) (n int) {
	for size := int64(0); size < r.Size; n++ {
		size += pages[n].Size
	}
	return n
}

// reserve gets n bytes of address space, from a closed stream's if one fits.
func (m *metalActor) reserve(n int64, w *work) error {
	if n == 0 {
		return nil
	}
	for i, r := range m.spare {
		if r.Size >= n && r.Size <= 2*n {
			m.spare = slices.Delete(m.spare, i, i+1)
			w.rng = r
			return nil
		}
	}
	return m.timed(callReserve, func() (err error) {
		w.rng, err = m.pager.Reserve(n)
		return err
	})
}

func (m *metalActor) unmap(r metal.Range, offset, size int64) error {
	m.unwire(r.Addr+uintptr(offset), size)
	return m.timed(callUnmap, func() error { return m.pager.Unmap(r, offset, size) })
}

// undo takes back what serve had done before it failed: every page of the
// ticket goes to the device.
func (m *metalActor) undo(t *ticket) stage {
	w := &t.work
	if w.segment.Size > 0 {
		m.leave(runs{{Range: w.rng, Size: w.segment.Size, Pages: w.pages}}, false)
	}
	if t.plan.Segment == 0 {
		m.undoPages(t)
	}
	for _, l := range w.moves {
		l.kept = false // those that had not arrived go back too
	}
	if t.plan.Reserve > 0 && w.rng.Size > 0 {
		m.spare = append(m.spare, w.rng)
	}
	t.work.released = m.drain()
	return book
}

func (m *metalActor) undoPages(t *ticket) {
	w := &t.work
	rest := w.pages
	for _, s := range w.spans[:w.mapped] {
		n := under(s, rest)
		s.Pages, rest = rest[:n], rest[n:]
		m.leave(runs{s}, false)
	}
	if rest = slices.DeleteFunc(rest, func(p streams.Page) bool { return p.Handle == 0 }); len(rest) > 0 {
		m.leavePages(rest)
	}
}
