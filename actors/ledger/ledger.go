package ledger

import (
	"slices"

	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/streams"
)

// Ledger is one runtime's accounts. Make it with New. All methods may be called
// from any goroutine; none waits for anything but the mutex, which is held for
// some tens of nanoseconds and a few more for each row that has credit.
type Ledger struct {
	mu steps.Mutex

	// For readers without the mutex; changed under it.
	_      [line]byte
	epoch  steps.Uint64                        // odd while out is being changed
	sum    steps.Uint64                        // granted to all rows, as sumWord
	seated steps.Int64                         // of seats
	seats  steps.Pointer[[]steps.Pointer[Row]] // the rows of out
	_      [line]byte

	granted int64  // sum in bytes: what is active, and all credit
	out     []*Row // rows with credit; one if leased
	leased  bool
	crew    []*Row // rows that will get credit when it is handed out next
	turns   turns

	points []*Point // since which a peak is kept; the runtime's own is one of them
	peak   Point
	low    int64 // lowest of their peaks: what is active and all credit stay at or below it

	rows   []*Row // open streams, by id
	closed []*Row // closed ones whose buffers live on
	buried account

	slack        int64 // of all rows
	reserved     int64 // active + cache + slack of all: what was taken from the device
	reservedPeak int64
	pool         pool

	torn bool // a reader has met a free that is half done

	growing     int64 // promised to misses under way, not yet taken from the device
	memoryLimit int64
	cacheLimit  int64
	threshold   int64 // caches are taken back before reserved grows past it
	bounded     steps.Bool
}

// pool is what no open stream owns.
type pool struct {
	transit int64 // pages on their way from or to a stream
	coming  int64 // of them, to a stream; the rest goes back to the device
	active  int64 // of closed streams
	held    int64 // reserved by closed streams

	peak, reservedPeak int64
}

// New makes a ledger without limits.
func New() *Ledger {
	l := &Ledger{memoryLimit: noLimit, cacheLimit: noLimit, threshold: noLimit}
	l.points = append(l.points, &l.peak)
	l.seats.Store(new([]steps.Pointer[Row]))
	return l
}

// Open adds a stream's row.
func (l *Ledger) Open(r *Row, who Owner) {
	r.Owner = who
	r.ledger, r.memoryLimit, r.rings = l, noLimit, noLimit
	r.cacheLimit.Store(noLimit)
	r.bell.Store(noLimit)
	r.word.Store(frozenBit | freshBit)
	l.mu.Lock()
	l.rows = append(l.rows, r)
	l.mu.Unlock()
}

// Close makes what a stream still holds the pool's; the stream's own figures stay
// as they were. The owner calls it.
func (l *Ledger) Close(r *Row) {
	l.bar(r)
	l.still(func() {
		if final := l.accountOf(r); !l.torn && !r.closed {
			r.final = final
			r.closed = true
			l.pool.active += final.active
			l.pool.held += final.reserved()
			l.pool.raise()
			l.rows = slices.DeleteFunc(l.rows, func(x *Row) bool { return x == r })
			l.closed = append(l.closed, r)
		}
	})
}

// bar has the row count centrally for good.
func (l *Ledger) bar(r *Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gather()
	r.barred, r.inCrew = true, false
	if l.turns.last == r {
		l.turns.last = nil
	}
	l.crew = slices.DeleteFunc(l.crew, func(x *Row) bool { return x == r })
}

// Forget drops a closed row that holds nothing any more; its counts stay the
// pool's.
func (l *Ledger) Forget(r *Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.closed, r); i >= 0 {
		l.closed = slices.Delete(l.closed, i, i+1)
		a := l.accountOf(r)
		l.buried.count(&a)
	}
}

func (p *pool) raise() {
	p.peak = max(p.peak, p.active)
	p.reservedPeak = max(p.reservedPeak, p.held+p.transit)
}

// Change is what one operation did beyond its heap's figures. Frees are the
// owner's; what others had left is Taken.
type Change struct {
	Mallocs, Frees int64
	Misses         int64
	Taken          Taken
	Grew           bool  // a buffer grew: that can be a peak too
	FromPool       int64 // bytes of pages that pass from the pool to the row
	Coming         int64 // bytes of pages that are now on their way to the row
	For            *Row  // or, if not nil, to this one
}

// Settle books what an operation did to a stream's heap, f being the heap's
// figures after it. The owner calls it. It returns by how much the cache, or the
// stream's own, is above its limit; negative or 0: not.
func (l *Ledger) Settle(r *Row, f *streams.Figures, c Change) (excess int64) {
	l.mu.Lock()
	l.hold(r)
	delta := f.Active - r.active + c.Taken.Bytes
	r.active = f.Active
	if delta > 0 {
		l.spend(r, delta)
	} else if delta < 0 {
		l.refund(r, -delta)
	}
	l.publish(r, f, &c, delta > 0 && (c.Mallocs > 0 || c.Grew))
	if c.FromPool != 0 || c.Coming != 0 {
		l.pool.transit -= c.FromPool
		l.pool.coming += c.Coming
		if c.For != nil {
			c.For.coming += c.Coming
		} else {
			r.coming += c.Coming
		}
	}
	r.misses += c.Misses
	if c.Mallocs > 0 { // a grow, or a malloc that nobody waited for, is no hit
		r.missed += c.Misses
	}
	l.decide(r, delta)
	l.letGo(r)
	excess = l.over(r)
	l.mu.Unlock()
	return excess
}

// publish writes the row's shelf and present book; its word is frozen.
func (l *Ledger) publish(r *Row, f *streams.Figures, c *Change, malloc bool) {
	b, slack, reserved := r.book(), r.shelf.slack, r.shelf.reserved()
	r.shelf = shelf{held: f.Active + f.Cache, pending: f.Pending, slack: f.Slack}
	b.waste = f.Active - f.Requested
	b.mallocs += c.Mallocs
	b.frees += c.Frees + c.Taken.Blocks
	b.taken += c.Taken.packed()
	if malloc {
		high := r.activeNow()
		if r.x&freshBit == 0 {
			high = max(high, b.high)
		}
		b.high = high
		r.x &^= freshBit
	}
	r.reservedPeak = max(r.reservedPeak, r.shelf.reserved())
	l.slack += r.shelf.slack - slack
	if r.closed {
		l.pool.held += r.shelf.reserved() - reserved
		l.pool.raise()
	}
}

// spend takes n bytes for a malloc out of the row's credit, or else out of what is
// free for all below the lowest peak; or it makes a new peak.
func (l *Ledger) spend(r *Row, n int64) {
	if u := units(n); r.out && credit(r.x) >= u {
		r.x -= u
		return
	}
	if l.leased || l.granted+n > l.lowest() {
		l.gather()
	}
	l.grant(r, n)
	if l.granted > l.low {
		l.newPeak(l.granted) // nobody has credit now
	}
}

// lowest is what is granted must stay at or below.
func (l *Ledger) lowest() int64 {
	if planted(ownPeakOnly) {
		return l.peak.peak
	}
	return l.low
}

// refund takes back n bytes that aren't active any more.
func (l *Ledger) refund(r *Row, n int64) {
	if u := units(n); r.out && creditMask-credit(r.x) >= u {
		r.x += u
		return
	}
	if l.leased && !r.out && !planted(keepLease) {
		l.gather() // what the lease's peak adds to changes now
	}
	l.grant(r, -n)
}

// grant changes what is granted to the row, whose word is frozen.
func (l *Ledger) grant(r *Row, n int64) {
	r.granted.Store(r.granted.Load() + n)
	l.granted += n
	l.sum.Store(nextSum(l.sum.Load(), l.granted))
	if r.closed {
		l.pool.active += n
	}
}

// leave is Row.Leave for a row whose word is frozen. False: it isn't any more.
func (l *Ledger) leave(r *Row, n, requested int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold(r)
	defer l.letGo(r)
	if r.out && creditMask-credit(r.x) >= units(n) {
		return false
	}
	r.left.Add(oneLeft + uint64(n-requested))
	l.refund(r, n)
	l.decide(r, -n)
	return true
}
