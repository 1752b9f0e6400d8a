package devicetest

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// bug is one thing that a device does wrong.
type bug string

const (
	noBug            bug = "none"
	zeroPageSize     bug = "Info without a page size"
	closesInUse      bug = "Close ignores what is taken"
	worksClosed      bug = "goes on after Close"
	oddHandleSize    bug = "Info with a handle size of half pages"
	claimsAliases    bug = "says that handles can be at several places, and refuses"
	hidesAliases     bug = "maps handles at several places without saying so"
	endlessSpace     bug = "reserves more address space than there is"
	createsFree      bug = "charges only the first handles created"
	mapsFree         bug = "charges less for many handles than for one"
	roundsSizes      bug = "rounds sizes up instead of refusing them"
	sameRange        bug = "reserves the same range twice"
	vagueNoMemory    bug = "calls it a limit when memory runs out"
	mapsHalf         bug = "a refused Map leaves the first handles mapped"
	mapsOverOthers   bug = "maps over other pages"
	unmapsParts      bug = "pretends to unmap parts of handles"
	releasesMapped   bug = "releases mapped handles"
	releasesTwice    bug = "releases again what was released"
	freesTwice       bug = "frees again what was freed"
	sameSegment      bug = "gives the same segment twice"
	shortSegment     bug = "gives smaller segments than asked for"
	vagueTooLarge    bug = "calls it out of memory when a segment is too large"
	countsMapped     bug = "counts mapped memory only"
	countsPagesTwice bug = "counts a page too many when many are taken"
	wiresAnything    bug = "wires what isn't there, too"
	wiresNest        bug = "wants an Unwire for each Wire"
	countsWires      bug = "counts what is wired again"
	movesWired       bug = "unmaps and frees what is wired"
	watchesClosed    bug = "watches pressure after Close"
	queueZeroWaits   bug = "marks on queue zero are never reached"
	reachedEarly     bug = "marks are reached at once"
	reachedLate      bug = "marks are reached one piece late"
	notifiesTwice    bug = "Notify calls twice"
	notifiesEarly    bug = "Notify calls before the mark is reached"
	losesWaiters     bug = "Notify never calls"
	hidesFailure     bug = "a failed queue only looks slow"
	takesAnyQueue    bug = "takes any queue for its own"
	losesCounts      bug = "loses calls now and then"
	runsBackwards    bug = "modelled time runs backwards"
)

// broken is a simulated device with one bug.
type broken struct {
	*sim.Device
	bug bug

	ranges   []metal.Range
	segments []metal.Segment
	mapped   int64
	wires    map[uintptr]int64
	extra    int64 // counted as wired
	notified atomic.Int64
	reads    time.Duration
	creates  int
	unpaid   time.Duration // taken off what the device models
}

// hide makes errors of one kind vanish in devices with the bug b.
func (d *broken) hide(b bug, kind, err error) error {
	if d.bug == b && errors.Is(err, kind) {
		return nil
	}
	return err
}

// confuse gives errors of one kind as another in devices with the bug b.
func (d *broken) confuse(b bug, from, to, err error) error {
	if d.bug == b && errors.Is(err, from) {
		return to
	}
	return err
}

func (d *broken) Info() metal.Info {
	i := d.Device.Info()
	if d.bug == zeroPageSize {
		i.PageSize = 0
	}
	if d.bug == claimsAliases || d.bug == hidesAliases {
		i.Aliases = !i.Aliases
	}
	if d.bug == oddHandleSize {
		i.HandleSize = i.PageSize * 3 / 2
	}
	return i
}

func (d *broken) Close() error {
	if d.bug == worksClosed {
		return nil
	}
	return d.hide(closesInUse, metal.ErrBusy, d.Device.Close())
}

func (d *broken) rounded(size int64) int64 {
	page := d.Device.Info().PageSize
	if d.bug == roundsSizes && size > 0 && size < math.MaxInt64-page {
		return (size + page - 1) / page * page
	}
	return size
}

func (d *broken) Reserve(size int64) (metal.Range, error) {
	if d.bug == sameRange {
		for _, r := range d.ranges {
			if r.Size == size {
				return r, nil
			}
		}
	}
	if d.bug == endlessSpace && size > 1<<60 && size%d.Device.Info().PageSize == 0 {
		return metal.Range{Addr: 1 << 40, Size: size}, nil
	}
	r, err := d.Device.Reserve(d.rounded(size))
	d.ranges = append(d.ranges, r)
	return r, err
}

func (d *broken) Create(size int64) (metal.Handle, error) {
	before := d.Device.ModelledTime()
	h, err := d.Device.Create(d.rounded(size))
	if d.creates++; d.bug == createsFree && d.creates > 3 {
		d.unpaid += d.Device.ModelledTime() - before
	}
	return h, d.confuse(vagueNoMemory, metal.ErrOutOfMemory, metal.ErrLimitExceeded, err)
}

func (d *broken) Release(h metal.Handle) error {
	err := d.Device.Release(h)
	err = d.hide(releasesMapped, metal.ErrBusy, err)
	return d.hide(releasesTwice, metal.ErrUnknownHandle, err)
}

func (d *broken) Map(r metal.Range, offset int64, hs []metal.Handle) error {
	before := d.Device.ModelledTime()
	err := d.Device.Map(r, offset, hs)
	if d.bug == mapsFree && len(hs) > 1 {
		d.unpaid += d.Device.ModelledTime() - before
	}
	if err == nil {
		d.mapped += int64(len(hs))
	} else if d.bug == mapsHalf {
		_ = d.Device.Map(r, offset, hs[:1])
	}
	return d.hide(mapsOverOthers, metal.ErrBusy, err)
}

func (d *broken) Unmap(r metal.Range, offset, size int64) error {
	if d.bug == movesWired {
		_ = d.Device.Unwire(r.Addr+uintptr(offset), size)
	}
	err := d.Device.Unmap(r, offset, size)
	if err == nil {
		d.mapped = max(0, d.mapped-1)
	}
	return d.hide(unmapsParts, metal.ErrInvalidSize, err)
}

func (d *broken) Alloc(size int64) (metal.Segment, error) {
	if d.bug == sameSegment && len(d.segments) > 0 && size > 0 && size <= d.segments[0].Size {
		return d.segments[0], nil
	}
	s, err := d.Device.Alloc(size)
	if err == nil {
		d.segments = append(d.segments, s)
	}
	if d.bug == shortSegment && s.Size > 0 {
		s.Size = d.Device.Info().Alignment
	}
	return s, d.confuse(vagueTooLarge, metal.ErrTooLarge, metal.ErrOutOfMemory, err)
}

func (d *broken) Wire(addr uintptr, size int64) error {
	if d.bug == countsWires && d.wires[addr] > 0 {
		d.extra += size
	}
	err := d.Device.Wire(addr, size)
	if err == nil {
		d.wires[addr]++
	}
	return d.hide(wiresAnything, metal.ErrInvalidSize, err)
}

func (d *broken) Unwire(addr uintptr, size int64) error {
	d.wires[addr]--
	if d.bug == wiresNest && d.wires[addr] > 0 {
		return nil
	}
	d.wires[addr], d.extra = 0, 0
	return d.Device.Unwire(addr, size)
}

func (d *broken) WatchPressure(f func(metal.Level)) (func(), error) {
	stop, err := d.Device.WatchPressure(f)
	return stop, d.hide(watchesClosed, metal.ErrClosed, err)
}

func (d *broken) Free(s metal.Segment) error {
	if d.bug == movesWired {
		_ = d.Device.Unwire(s.Addr, s.Size)
	}
	return d.hide(freesTwice, metal.ErrUnknownHandle, d.Device.Free(s))
}

func (d *broken) Usage() (metal.Usage, error) {
	u, err := d.Device.Usage()
	page := d.Device.Info().PageSize
	u.Wired += d.extra
	switch {
	case d.bug == countsMapped:
		u.Taken = min(u.Taken, d.mapped*page)
	case d.bug == countsPagesTwice && u.Taken > 3*page:
		u.Taken += page
	}
	return u, err
}

func (d *broken) Record(q metal.Queue) (metal.Mark, error) {
	m, err := d.Device.Record(q)
	if d.bug == queueZeroWaits && q == 0 {
		return metal.Mark{Queue: 0, Seq: 1}, nil
	}
	if d.bug == reachedLate && q != 0 {
		m.Seq++
	}
	return m, d.hide(takesAnyQueue, metal.ErrUnknownHandle, err)
}

func (d *broken) Reached(m metal.Mark) (bool, error) {
	ok, err := d.Device.Reached(m)
	switch {
	case d.bug == queueZeroWaits && m.Seq > 0 && m.Queue == 0:
		return false, nil
	case d.bug == reachedEarly && err == nil:
		return true, nil
	case d.bug == hidesFailure:
		return ok, nil
	}
	return ok, err
}

func (d *broken) Notify(m metal.Mark, f func()) {
	n := d.notified.Add(1)
	switch {
	case d.bug == losesWaiters, d.bug == losesCounts && n > 100:
		return
	case d.bug == notifiesEarly:
		f()
		return
	case d.bug == notifiesTwice:
		d.Device.Notify(m, f)
	}
	d.Device.Notify(m, f)
}

func (d *broken) ModelledTime() time.Duration {
	if d.bug == runsBackwards {
		d.reads++
		return time.Hour - d.reads
	}
	return d.Device.ModelledTime() - d.unpaid
}

// scribbler is a device whose new segments are dirty, though it says they are
// zero.
type scribbler struct {
	metal.Device
	metal.Segmenter
}

func (d scribbler) Alloc(size int64) (metal.Segment, error) {
	s, err := d.Segmenter.Alloc(size)
	if err == nil {
		bytesAt(s.Addr, s.Size)[0] = 7
	}
	return s, err
}

// pageScribbler is the same for pages.
type pageScribbler struct {
	metal.Device
	metal.Pager
}

func (d pageScribbler) Map(r metal.Range, offset int64, hs []metal.Handle) error {
	err := d.Pager.Map(r, offset, hs)
	if err == nil {
		bytesAt(r.Addr+uintptr(offset), 1)[0] = 7
	}
	return err
}
