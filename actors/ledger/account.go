package ledger

import (
	"fmt"
	"runtime"

	"github.com/metalloc/metalloc/telemetry"
)

// Owner is whose account a row is.
type Owner struct {
	ID   uint64
	Name string
	Tag  string
}

// shared is a row's part below the mutex.
type shared struct {
	Owner

	x      uint64 // the word while the row is held
	given  uint64 // what it was when credit was handed out
	isHeld bool
	out    bool // has credit
	inCrew bool
	barred bool // gets no credit any more
	closed bool
	visits int    // to the mutex, since it got credit or others did
	seen   uint64 // turns.count at the last
	demand uint64 // units drawn of late

	peak         int64 // without what the present book's high says
	reservedPeak int64
	misses       int64
	missed       int64 // of misses, those that are no hits
	refusals     int64
	trims        int64
	final        account // a closed stream's own

	memoryLimit int64 // bounds the stream's own reserved
	rings       int64 // see Ring
	growing     int64 // promised to the stream's misses
	coming      int64 // the pool's pages on their way to it
}

// Limited reports whether the stream has a cache limit of its own. From any
// goroutine.
func (r *Row) Limited() bool { return r.cacheLimit.Load() != noLimit }

// account is a row's or the pool's figures, or a sum of them.
type account struct {
	requested, active, peak int64
	cache, pending, slack   int64
	reservedPeak            int64
	mallocs, frees          int64
	misses, missed          int64
	refusals, trims         int64
}

// accountOf reads the row, which stands still; l.torn is set if a free is half done.
func (l *Ledger) accountOf(r *Row) account {
	b := r.book()
	blocks, waste, ok := r.outstanding()
	l.torn = l.torn || !ok
	a := account{
		active: r.activeNow(), peak: r.peak,
		pending: r.shelf.pending, slack: r.shelf.slack, reservedPeak: r.reservedPeak,
		mallocs: b.mallocs, frees: b.frees + blocks,
		misses: r.misses, missed: r.missed, refusals: r.refusals, trims: r.trims,
	}
	a.requested = a.active - (b.waste - waste)
	a.cache = r.shelf.held - a.active
	if r.present()&freshBit == 0 {
		a.peak = max(a.peak, b.high)
	}
	return a
}

// add sums up bytes; count sums up counts.
func (a *account) add(b *account) {
	a.requested += b.requested
	a.active += b.active
	a.cache += b.cache
	a.pending += b.pending
	a.slack += b.slack
}

func (a *account) count(b *account) {
	a.mallocs += b.mallocs
	a.frees += b.frees
	a.misses += b.misses
	a.missed += b.missed
	a.refusals += b.refusals
	a.trims += b.trims
}

func (a *account) reserved() int64 { return a.active + a.cache + a.slack }

func (a *account) export() telemetry.Figures {
	return telemetry.Figures{
		Requested: a.requested, Active: a.active, Peak: a.peak,
		Cache: a.cache, Pending: a.pending, Slack: a.slack,
		Reserved: a.reserved(), ReservedPeak: a.reservedPeak,
		Buffers: a.mallocs - a.frees, Mallocs: a.mallocs, Frees: a.frees, Misses: a.misses,
		Hits: a.mallocs - a.missed, Refusals: a.refusals, Trims: a.trims,
	}
}

// Refused and Trimmed count.
func (l *Ledger) Refused(r *Row) {
	l.mu.Lock()
	r.refusals++
	l.mu.Unlock()
}

// Trimmed is explained at Refused.
func (l *Ledger) Trimmed(r *Row) {
	l.mu.Lock()
	r.trims++
	l.mu.Unlock()
}

// still calls f, under the mutex, while no account moves. If some free was half
// done it calls f again, after the freer may have gone on.
func (l *Ledger) still(f func()) {
	for torn := true; torn; {
		l.mu.Lock()
		l.torn = false
		l.freeze()
		f()
		l.thaw()
		torn = l.torn
		l.mu.Unlock()
		if torn {
			runtime.Gosched()
		}
	}
}

// Figures reads a stream's account.
func (l *Ledger) Figures(r *Row) (f telemetry.Figures) {
	l.still(func() {
		a := r.final
		if !r.closed {
			a = l.accountOf(r)
		}
		f = a.export()
	})
	return f
}

// TotalsOf reads a stream's bytes.
func (l *Ledger) TotalsOf(r *Row) Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := r.final
	if !r.closed {
		l.standing(r, func() { a = l.accountOf(r) })
	}
	return Totals{Active: a.active, Peak: a.peak, Cache: a.cache, Slack: a.slack, Reserved: a.reserved()}
}

// Snapshot reads everything at one instant.
func (l *Ledger) Snapshot() (total telemetry.Figures, rows []telemetry.Stream, lim telemetry.Limits) {
	l.still(func() {
		if l.leased {
			l.fold(l.out[0])
		}
		pool := l.poolAccount()
		sum := account{peak: l.peak.peak, reservedPeak: l.reservedPeak}
		sum.add(&pool)
		sum.count(&pool)
		rows = make([]telemetry.Stream, 0, len(l.rows)+1)
		rows = append(rows, telemetry.Stream{Figures: pool.export(), MemoryLimit: noLimit, CacheLimit: noLimit})
		for _, r := range l.rows {
			a := l.accountOf(r)
			sum.add(&a)
			sum.count(&a)
			rows = append(rows, telemetry.Stream{
				ID: r.ID, Name: r.Name, Tag: r.Tag, Figures: a.export(),
				MemoryLimit: r.memoryLimit, CacheLimit: r.cacheLimit.Load(),
			})
		}
		total, lim = sum.export(), telemetry.Limits{Memory: l.memoryLimit, Cache: l.cacheLimit}
	})
	return total, rows, lim
}

// poolAccount is what no open stream owns.
func (l *Ledger) poolAccount() account {
	pool := l.buried
	for _, r := range l.closed {
		a := l.accountOf(r)
		pool.add(&a)
		pool.count(&a)
	}
	pool.cache += l.pool.transit
	pool.peak, pool.reservedPeak = l.pool.peak, l.pool.reservedPeak
	return pool
}

// Check says what doesn't add up, for tests and after a panic; idle: nothing is
// promised to a miss or on its way. Nobody may be inside a stream's turn then.
func (l *Ledger) Check(idle bool) error {
	sum, _, _ := l.Snapshot() // of the rows' accounts; the totals are kept apart from them
	rows := Totals{Active: sum.Active, Peak: sum.Peak, Cache: sum.Cache, Slack: sum.Slack, Reserved: sum.Reserved}
	totals := l.Totals()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case totals != rows:
		return fmt.Errorf("ledger: totals %+v, but the rows make %+v", totals, rows)
	case sum.Pending > sum.Cache || sum.Requested > sum.Active || sum.Buffers < 0:
		return fmt.Errorf("ledger: accounts %+v don't hang together", sum)
	case !l.leased && len(l.out) > 0 && l.granted > l.low:
		return fmt.Errorf("ledger: %d bytes granted, over the lowest peak %d", l.granted, l.low)
	case idle && (l.growing != 0 || l.pool.transit != 0):
		return fmt.Errorf("ledger: %d bytes promised and %d on their way, though nothing is under way", l.growing, l.pool.transit)
	}
	return nil
}
