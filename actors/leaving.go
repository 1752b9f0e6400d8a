package actors

import (
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// leaving are pages that a stream has given up: they go back to the device or,
// kept, to another place of a ticket. Size and Pages shrink as they get there;
// what the device refuses stays, and is tried again next time.
type leaving struct {
	run
	kept     bool // a ticket will take them
	parted   bool // just the place: the pages are elsewhere by now
	unmapped bool
	refusal  error // the device's last
}

// inbox takes what leaves a stream, in that stream's very turn. The heap may
// give the place to another block from then on, so whoever maps pages there
// must find the old ones here, even if those who bring them come later.
type inbox struct {
	mu   steps.Mutex
	runs []*leaving
}

func (m *metalActor) leave(rs runs, kept bool) []*leaving {
	if len(rs) == 0 {
		return nil
	}
	return m.leaveBooked(rs, kept, func() {})
}

// leaveBooked is leave, and books it: whoever reads in the books that pages are
// leaving will find them here.
func (m *metalActor) leaveBooked(rs runs, kept bool, book func()) []*leaving {
	ls := make([]*leaving, len(rs))
	for i, r := range rs {
		ls[i] = &leaving{run: r, kept: kept}
	}
	m.inbox.mu.Lock()
	defer m.inbox.mu.Unlock()
	book()
	m.inbox.runs = append(m.inbox.runs, ls...)
	return ls
}

// part takes places that pages have left early, once they may be unmapped.
func (m *metalActor) part(rs runs) {
	if len(rs) == 0 {
		return
	}
	m.inbox.mu.Lock()
	defer m.inbox.mu.Unlock()
	for _, r := range rs {
		m.inbox.runs = append(m.inbox.runs, &leaving{run: r, parted: true})
	}
}

func (m *metalActor) collect() {
	m.inbox.mu.Lock()
	fresh := m.inbox.runs
	m.inbox.runs = nil
	m.inbox.mu.Unlock()
	for _, l := range fresh {
		if l.Early {
			m.linger(l, 1)
		}
	}
	m.leaving = append(m.leaving, fresh...)
}

// linger counts places where pages are still mapped that have left them early.
func (m *metalActor) linger(l *leaving, n int) {
	for _, p := range l.Pages {
		if m.lingering[p.Handle] += n; m.lingering[p.Handle] == 0 {
			delete(m.lingering, p.Handle)
		}
	}
}

// vacate unmaps what is still mapped of pages that have left that address range.
func (m *metalActor) vacate(r metal.Range) error {
	m.collect()
	for _, l := range m.leaving {
		if l.Range != r {
			continue
		}
		if err := m.unmapLeaving(l); err != nil {
			return err
		}
	}
	return nil
}

// drain gives back all that isn't kept, and returns how many bytes have gone
// since the last time.
func (m *metalActor) drain() int64 {
	m.giveBackAll()
	n := m.released
	m.released = 0
	return n
}

func (m *metalActor) giveBackAll() {
	m.collect()
	for _, l := range m.leaving {
		if !l.kept {
			m.giveBack(l)
		}
	}
	m.forget()
}

// taken makes a call that takes memory. If the device is full, what waits to go
// back to it goes first; who brought that will book it.
func (m *metalActor) taken(k deviceCall, f func() error) error {
	err := m.timed(k, f)
	if !errors.Is(err, ErrOutOfMemory) {
		return err
	}
	before := m.released
	if m.giveBackAll(); m.released == before {
		return err
	}
	return m.timed(k, f)
}

// forget drops what has got where it was going.
func (m *metalActor) forget() {
	m.leaving = slices.DeleteFunc(m.leaving, func(l *leaving) bool { return l.Size == 0 })
}

func (m *metalActor) unmapLeaving(l *leaving) error {
	switch {
	case m.pager == nil || l.unmapped:
		return nil
	case l.Early: // it stays mapped until it has parted
		m.unwire(l.Range.Addr+uintptr(l.Offset), l.Size)
		l.unmapped = true
		return nil
	}
	if err := m.unmap(l.Range, l.Offset, l.Size); err != nil {
		m.core.log.Error("device would not unmap pages", zap.Int64("bytes", l.Size), zap.Error(err))
		l.refusal = err
		return err
	}
	l.unmapped = true
	if l.parted {
		m.linger(l, -1)
		l.Pages, l.Size = nil, 0
	}
	return nil
}

// errLingers: released once its old place has parted.
var errLingers = errors.New("still mapped where queued work may use it")

// lingers reports whether the page is still mapped where it has left early. Places
// that have parted since are unmapped now.
func (m *metalActor) lingers(p streams.Page) bool {
	if m.lingering[p.Handle] > 0 {
		for _, l := range m.leaving {
			if l.parted && l.Size > 0 {
				_ = m.unmapLeaving(l)
			}
		}
	}
	return m.lingering[p.Handle] > 0
}

// giveBack notes each step where a panic in the next finds it.
func (m *metalActor) giveBack(l *leaving) {
	if m.unmapLeaving(l) != nil {
		return
	}
	for len(l.Pages) > 0 {
		p := l.Pages[0]
		if m.lingers(p) {
			l.refusal = errLingers
			return
		}
		if err := m.release(l.Range.Addr, p); err != nil {
			m.core.log.Error("device would not take memory back", zap.Int64("bytes", p.Size), zap.Error(err))
			l.refusal = err
			return
		}
		l.Pages, l.Size = l.Pages[1:], l.Size-p.Size
		m.released += p.Size
	}
}

// release gives a page back to the device; addr counts for a whole segment.
func (m *metalActor) release(addr uintptr, p streams.Page) error {
	if m.pager != nil {
		return m.timed(callRelease, func() error { return m.pager.Release(p.Handle) })
	}
	m.unwire(addr, p.Size)
	return m.timed(callFree, func() error {
		return m.segmenter.Free(metal.Segment{Handle: p.Handle, Addr: addr, Size: p.Size})
	})
}
