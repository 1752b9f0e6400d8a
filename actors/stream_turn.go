package actors

import (
	"fmt"
	"math"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

// This file is what a stream does in its turn.

// passage: when the stream's own queue reaches mark, it is past the heap's clock.
type passage struct {
	mark  metal.Mark
	clock uint64
}

// settle books the heap's figures; moved bytes have left the heap for the pool.
func (s *Stream) settle(c ledger.Change) (excess int64) {
	return s.core.ledger.Settle(&s.row, s.heap.Now(), c)
}

// leave passes pages that the heap has given up to the metal actor, which gives
// them back to the device when it is asked next, and books them.
func (s *Stream) leave(rs runs) {
	if len(rs) == 0 {
		s.settle(ledger.Change{})
		return
	}
	s.core.metal.leaveBooked(rs, false, func() { s.settle(ledger.Change{FromPool: -streams.SizeOf(rs)}) })
}

// takeBack frees a buffer whose block was claimed; an error takes the claim back.
// Pages that may not stay in the cache are returned, as by excessRuns.
func (s *Stream) takeBack(b Buffer) (runs, error) {
	s.unsure = b
	marks, err := s.marksOf(b.block())
	s.unsure = Buffer{}
	if err != nil {
		b.block().Unclaim(b.gen)
		return nil, err
	}
	delete(s.sites, b.block())
	size := b.block().Size()
	s.heap.FreeBehind(b.block(), marks)
	s.row.Free(s.heap.Now(), size)
	if s.queue != 0 {
		s.noteFree(size)
	}
	return s.excessRuns(), nil
}

// excessRuns gives up what may not stay in the cache. It has left the stream;
// Close waits until the caller, who gives it back, calls end.
func (s *Stream) excessRuns() (rs runs) {
	s.ring()
	if s.closed.Load() {
		rs = s.surrender()
	} else if excess := s.core.ledger.CacheExcess(&s.row); excess > 0 {
		rs = s.trim(excess)
	}
	if rs != nil {
		s.core.begin()
	}
	return rs
}

// marksOf records where the other streams that use the block are now.
func (s *Stream) marksOf(blk *streams.Block) (marks []metal.Mark, err error) {
	if len(blk.Uses()) == 0 || s.core.marks == nil {
		return nil, nil
	}
	for _, q := range blk.Uses() {
		m, err := s.core.marks.record(q)
		switch {
		case unknown(err):
			return nil, err
		case err != nil: // a queue that has failed runs nothing more
			s.core.log.Warn("queue can't be marked", zap.String("stream", s.name), zap.Error(err))
			continue
		}
		if !s.reached(m) {
			marks = append(marks, m)
		}
	}
	return marks, nil
}

func (s *Stream) noteUse(b Buffer, other *Stream) error {
	if other.queue != 0 && b.block().Gen() == b.gen {
		b.block().Use(other.queue)
	}
	// Looked at last: a Free that came before has not seen the use, one that comes
	// later will.
	if b.block().Gen() != b.gen {
		return s.core.fail("record use", s, b.size, ErrDoubleFree)
	}
	return nil
}

// reached: a queue that has failed runs nothing more, so its marks count as
// reached.
func (s *Stream) reached(m metal.Mark) bool {
	ok, err := s.core.marks.reached(m)
	if err != nil {
		s.core.log.Warn("queue has failed", zap.String("stream", s.name), zap.Error(err))
	}
	return ok || err != nil && !unknown(err)
}

// pass asks how far the stream's own queue is, and marks where it is now. Pages
// are given up only behind it.
func (s *Stream) pass() {
	s.ask()
	s.core.metal.part(s.heap.Parted())
}

func (s *Stream) ask() {
	clock := s.heap.Clock()
	if s.queue == 0 || s.core.marks == nil {
		s.heap.Pass(clock)
		return
	}
	s.mark(clock)
	n := 0
	for n < len(s.passages) && s.reached(s.passages[n].mark) {
		s.heap.Pass(s.passages[n].clock)
		n++
	}
	s.passages = append(s.passages[:0], s.passages[n:]...)
}

// mark has the stream's own queue tell when it is past the frees so far.
func (s *Stream) mark(clock uint64) {
	s.unmarked = 0
	if n := len(s.passages); s.heap.Passed() >= clock || n > 0 && s.passages[n-1].clock >= clock {
		return
	}
	m, err := s.core.marks.record(s.queue)
	switch {
	case err == nil:
		s.passages = append(s.passages, passage{m, clock})
	case !unknown(err): // a queue that has failed runs nothing more
		s.heap.Pass(clock)
	}
}

// maxPassages bounds the marks outstanding on a stream's own queue.
const maxPassages = 256

// leastPage counts as a page on devices that have none.
const leastPage = 2 << 20

// noteFree marks the queue now and then, so that free pages can be given up soon
// after the queue has passed them and not only some time after the next miss. A
// page's worth of frees shares one mark.
func (s *Stream) noteFree(size int64) {
	if s.unmarked += size; s.unmarked >= max(s.core.info.PageSize, leastPage) && s.core.marks != nil && len(s.passages) < maxPassages {
		s.mark(s.heap.Clock())
	}
}

// poll makes pending blocks reusable whose marks are reached. Pages that go back
// to the device because of it are returned; they have left the stream.
func (s *Stream) poll() runs {
	if !s.heap.Pending() {
		return nil
	}
	rs := s.heap.Settle(s.reached)
	s.leave(rs)
	return rs
}

// trim brings the cache down by n bytes.
func (s *Stream) trim(n int64) runs {
	s.pass()
	rs := s.heap.ReduceCache(n)
	s.leave(rs)
	s.core.ledger.Trimmed(&s.row)
	s.watch()
	return rs
}

// surrender gives up everything a closed stream can.
func (s *Stream) surrender() runs {
	s.pass()
	rs := s.heap.Clear()
	s.clearTo = math.MaxUint64
	s.leave(rs)
	s.watch()
	return rs
}

// retire closes the stream's books; its buffers are the runtime's from here on.
func (s *Stream) retire() runs {
	s.shut = true
	s.closed.Store(true)
	rs := append(s.poll(), s.surrender()...)
	s.core.ledger.Close(&s.row)
	return rs
}

// giveUp is a sweep's visit.
func (s *Stream) giveUp(kind sweepKind, need int64) (rs runs, reduced, pending int64) {
	rs = s.poll()
	s.pass()
	before := s.heap.Figures().Cache
	var taken runs
	switch kind {
	case sweepPages:
		taken = s.heap.TakeFree(need)
	case sweepCache:
		taken = s.heap.ReduceCache(need)
	case sweepClear:
		taken = s.heap.Clear()
		s.clearTo = max(s.clearTo, s.heap.Clock())
	}
	after := s.heap.Figures().Cache
	s.leave(taken)
	s.core.ledger.Trimmed(&s.row)
	if kind != sweepPages {
		s.watch()
	}
	return append(rs, taken...), before - after, after
}

// watch has the stream polled when a mark is reached that memory to be given
// back waits for.
func (s *Stream) watch() {
	if s.core.marks == nil || s.core.ledger.CacheExcess(&s.row) == 0 && s.clearTo <= s.heap.Passed() && !s.heap.Dropping() && !s.stranded {
		return
	}
	for _, m := range s.waits() {
		if _, ok := s.watched[m]; ok {
			continue
		}
		if s.watched == nil {
			s.watched = map[metal.Mark]struct{}{}
		}
		s.watched[m] = struct{}{}
		err := s.core.marks.notify(m, func() { s.core.background(func() { s.send(newPolling(s, m), true) }) })
		if err != nil {
			delete(s.watched, m)
			s.core.log.Error("mark can't be watched", zap.String("stream", s.name), zap.Error(err))
		}
	}
}

// waits lists the marks that freed memory waits for next.
func (s *Stream) waits() []metal.Mark {
	marks := s.heap.NextMarks()
	if len(s.passages) > 0 {
		marks = append(marks, s.passages[0].mark)
	}
	return marks
}

// polling is the visit that watch arranges for.
type polling struct {
	opBase
	stream *Stream
	mark   metal.Mark
	give   runs
	parted bool // places were left for good: what was there may go back now
}

func newPolling(s *Stream, m metal.Mark) *polling {
	p := &polling{stream: s, mark: m}
	p.self = p
	return p
}

func (p *polling) step() {
	s := p.stream
	delete(s.watched, p.mark)
	p.give = s.poll()
	was := s.heap.Parting()
	s.pass()
	p.parted = was && !s.heap.Parting()
	s.stranded = s.stranded && s.heap.Parting()
	if s.clearTo > 0 {
		rs := s.heap.TakeOlder(s.clearTo)
		s.leave(rs)
		p.give = append(p.give, rs...)
	}
	if excess := s.core.ledger.CacheExcess(&s.row); excess > 0 {
		p.give = append(p.give, s.trim(excess)...)
	}
	s.watch()
}

func (p *polling) broke(err error) {
	p.stream.core.log.Error("polling marks panicked", zap.String("stream", p.stream.name), zap.Error(err))
}

func (p *polling) hop(mayEnter bool) {
	s := p.stream
	then := func(bool) {
		if s.gone.Load() { // closed, and this may have been the last it had
			s.core.background(func() { s.core.retire(s) })
		}
	}
	switch {
	case len(p.give) > 0:
		s.core.giveBack(p.give, then, mayEnter)
	case p.parted:
		s.core.flush(then, mayEnter)
	}
}

// restarted checks the state after a panic: what was handed out to nobody goes
// back, and if the rest doesn't add up the stream hands out nothing more.
func (s *Stream) restarted() {
	for _, b := range append(s.taken, s.takenOne) {
		if b != nil && b.Live() {
			s.heap.Discard(b)
		}
	}
	s.taken, s.takenOne = nil, nil
	if b := s.unsure; b.h != nil {
		b.block().Unclaim(b.gen)
		s.unsure = Buffer{}
	}
	for b := s.arrived; b != nil; b = s.arrived {
		s.arrived = b.Left()
		s.inbox.Push(b)
	}
	taken := s.takenUp
	s.takenUp = ledger.Taken{}
	if err := s.heap.Check(); err != nil {
		s.broken = fmt.Errorf("state broken by a panic: %w", err)
		s.core.log.Error("stream failed", zap.String("stream", s.name), zap.Error(err))
	}
	s.settle(ledger.Change{Taken: taken})
	s.takeUp()
}
