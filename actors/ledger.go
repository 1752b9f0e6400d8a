package actors

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	humanize "github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/streams"
	"github.com/metalloc/metalloc/telemetry"
)

// ledger counts. It is the supervisor's state: what is active, cached, slack and
// requested, for each stream and in all, and the peaks. Every change is one
// critical section that moves bytes between rows and totals, so a reader sees
// one instant, always with
//
//	reserved = active + cache + slack,  streams + pool = totals
//
// Counting is central: one mutex. Nothing is waited for inside it, so it needs
// no seam.
type ledger struct {
	mu    sync.Mutex
	total account
	pool  account // what no open stream owns
	rows  []*row  // open streams, by id

	growing     int64 // promised to misses under way, not yet taken from the device
	transit     int64 // of the pool's cache: pages on their way from or to a stream
	memoryLimit int64
	cacheLimit  int64
	threshold   int64 // caches are taken back before reserved grows past it
}

// account is one row's figures.
type account struct {
	streams.Figures
	peak                            int64
	reservedPeak                    int64
	buffers, mallocs, frees, misses int64
}

// row is one stream's account; it belongs to the ledger. After the stream has
// closed its bytes are the pool's and the account stays as it was.
type row struct {
	account
	heap   streams.Figures // what the stream's heap said last
	id     uint64
	name   string
	closed bool
}

// change is what one operation does to a row beyond its heap's figures.
type change struct {
	mallocs, frees, misses int64
	fromPool               int64 // bytes of pages that pass from the pool's cache to the row
}

// settle books what an operation did to a stream's heap, f being the heap's
// figures after it. It returns by how much the cache is above its limit.
func (l *ledger) settle(r *row, f streams.Figures, c change) (excess int64) {
	l.mu.Lock()
	old := r.heap
	r.heap = f
	own := &r.account
	if r.closed {
		own = &l.pool
	}
	own.apply(old, f)
	l.total.apply(old, f)
	if c.fromPool != 0 {
		l.pool.Cache -= c.fromPool
		l.total.Cache -= c.fromPool
		l.transit -= c.fromPool
	}
	own.count(c)
	l.total.count(c)
	excess = l.total.Cache - l.transit - l.cacheLimit
	l.mu.Unlock()
	return excess
}

// apply changes the account as a heap's figures changed.
func (a *account) apply(old, now streams.Figures) {
	a.Requested += now.Requested - old.Requested
	a.Active += now.Active - old.Active
	a.Cache += now.Cache - old.Cache
	a.Pending += now.Pending - old.Pending
	a.Slack += now.Slack - old.Slack
}

func (a *account) count(c change) {
	a.buffers += c.mallocs - c.frees
	a.mallocs += c.mallocs
	a.frees += c.frees
	a.misses += c.misses
	if c.mallocs > 0 { // as in MLX, after a reset the peak stays 0 until the next malloc
		a.peak = max(a.peak, a.Active)
	}
	a.reservedPeak = max(a.reservedPeak, a.Reserved())
}

// grow promises n bytes to a miss if the policy allows. Otherwise over says by
// how much reserved would pass the limit. reclaim is how much should first be
// taken back from caches; it is 0 when asked says that was done already.
func (l *ledger) grow(n int64, p Policy, asked bool) (ok bool, reclaim, over int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	after := l.total.Reserved() + l.growing + n
	if !asked && after > l.threshold && l.total.Cache > 0 {
		return false, after - l.threshold, 0
	}
	if after > l.memoryLimit && p != Guide {
		return false, 0, after - l.memoryLimit
	}
	l.growing += n
	return true, 0, 0
}

// shrink ends a promise of n bytes without growth.
func (l *ledger) shrink(n int64) {
	l.mu.Lock()
	l.growing -= n
	l.mu.Unlock()
}

// arrived books n bytes, promised of which were promised, as taken from the
// device; no stream has them yet.
func (l *ledger) arrived(promised, n int64) {
	l.mu.Lock()
	l.growing -= promised
	l.transit += n
	l.pool.Cache += n
	l.total.Cache += n
	l.pool.reservedPeak = max(l.pool.reservedPeak, l.pool.Reserved())
	l.total.reservedPeak = max(l.total.reservedPeak, l.total.Reserved())
	l.mu.Unlock()
}

// left books n bytes that no stream has as given back to the device.
func (l *ledger) left(n int64) {
	l.mu.Lock()
	l.pool.Cache -= n
	l.total.Cache -= n
	l.transit -= n
	l.mu.Unlock()
}

// open adds a stream's row.
func (l *ledger) open(id uint64, name string) *row {
	r := &row{id: id, name: name}
	l.mu.Lock()
	l.rows = append(l.rows, r)
	l.mu.Unlock()
	return r
}

// close makes what a stream still holds the pool's.
func (l *ledger) close(r *row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	l.pool.apply(streams.Figures{}, r.heap)
	l.pool.buffers += r.buffers
	l.pool.mallocs += r.mallocs
	l.pool.frees += r.frees
	l.pool.misses += r.misses
	l.pool.peak = max(l.pool.peak, l.pool.Active)
	l.pool.reservedPeak = max(l.pool.reservedPeak, l.pool.Reserved())
	l.rows = slices.DeleteFunc(l.rows, func(x *row) bool { return x == r })
}

// read gives one account's figures: a stream's, or with nil the totals.
func (l *ledger) read(r *row) telemetry.Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r == nil {
		return l.total.export()
	}
	return r.export()
}

func (a *account) export() telemetry.Figures {
	return telemetry.Figures{
		Requested: a.Requested, Active: a.Active, Peak: a.peak,
		Cache: a.Cache, Pending: a.Pending, Slack: a.Slack,
		Reserved: a.Reserved(), ReservedPeak: a.reservedPeak,
		Buffers: a.buffers, Mallocs: a.mallocs, Frees: a.frees, Misses: a.misses,
	}
}

// resetPeak forgets a peak: a stream's, or with nil the totals'.
func (l *ledger) resetPeak(r *row) {
	l.mu.Lock()
	if r == nil {
		l.total.peak = 0
	} else {
		r.peak = 0
	}
	l.mu.Unlock()
}

// snapshot copies everything at one instant.
func (l *ledger) snapshot() (total telemetry.Figures, rows []telemetry.Stream, lim telemetry.Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows = make([]telemetry.Stream, 0, len(l.rows)+1)
	rows = append(rows, telemetry.Stream{Figures: l.pool.export()})
	for _, r := range l.rows {
		rows = append(rows, telemetry.Stream{ID: r.id, Name: r.name, Figures: r.export()})
	}
	return l.total.export(), rows, telemetry.Limits{Memory: l.memoryLimit, Cache: l.cacheLimit}
}

// setMemoryLimit and setCacheLimit return the limit before, and by how much the
// figure is above the new one.
func (l *ledger) setMemoryLimit(n, threshold int64) (previous, over int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	previous, l.memoryLimit, l.threshold = l.memoryLimit, n, threshold
	return previous, l.total.Reserved() + l.growing - n
}

func (l *ledger) setCacheLimit(n int64) (previous, over int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	previous, l.cacheLimit = l.cacheLimit, n
	return previous, l.total.Cache - l.transit - n
}

func (l *ledger) limits() (memory, cache int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memoryLimit, l.cacheLimit
}

// cacheExcess is by how much the cache is above its limit now, or 0.
func (l *ledger) cacheExcess() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.total.Cache-l.transit-l.cacheLimit)
}

// holders names the largest holders, for people.
func (l *ledger) holders() string {
	const most = 4
	l.mu.Lock()
	rows := slices.Clone(l.rows)
	figures := make(map[*row]streams.Figures, len(rows)+1)
	for _, r := range rows {
		figures[r] = r.Figures
	}
	pool := &row{name: "", account: l.pool}
	figures[pool] = l.pool.Figures
	l.mu.Unlock()
	rows = append(rows, pool)
	slices.SortStableFunc(rows, func(a, b *row) int {
		return cmp.Compare(figures[b].Reserved(), figures[a].Reserved())
	})
	var parts []string
	for _, r := range rows {
		f := figures[r]
		if f.Reserved() == 0 || len(parts) == most {
			break
		}
		parts = append(parts, fmt.Sprintf("%q active %s + cache %s + slack %s", r.name,
			humanize.IBytes(uint64(f.Active)), humanize.IBytes(uint64(f.Cache)), humanize.IBytes(uint64(f.Slack))))
	}
	return strings.Join(parts, ", ")
}
