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
	coming      int64 // of transit: to a stream; the rest goes back to the device
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
	hits, refusals, trims           int64
}

// row is one stream's account; it belongs to the ledger. After the stream has
// closed its bytes are the pool's and the account stays as it was.
type row struct {
	account
	heap   streams.Figures // what the stream's heap said last
	id     uint64
	name   string
	tag    string
	closed bool

	memoryLimit int64 // bounds the stream's own reserved
	cacheLimit  int64
	growing     int64 // the stream's part of the ledger's
	coming      int64 // the pool's pages on their way to the stream
}

// change is what one operation does to a row beyond its heap's figures.
type change struct {
	mallocs, frees, misses int64
	refusals, trims        int64
	grew                   bool  // a buffer grew: that can be a peak too
	fromPool               int64 // bytes of pages that pass from the pool's cache to the row
	coming                 int64 // bytes of pages that are now on their way to the row
}

// settle books what an operation did to a stream's heap, f being the heap's
// figures after it. It returns by how much the cache is above its limit.
func (l *ledger) settle(r *row, f streams.Figures, c change) (excess int64) {
	l.mu.Lock()
	old := r.heap
	r.heap = f
	own := r.payer(l)
	own.apply(old, f)
	l.total.apply(old, f)
	if c.fromPool != 0 {
		l.pool.Cache -= c.fromPool
		l.total.Cache -= c.fromPool
		l.transit -= c.fromPool
	}
	r.coming += c.coming
	l.coming += c.coming
	own.count(c)
	l.total.count(c)
	excess = l.over(r)
	l.mu.Unlock()
	return excess
}

// hit is settle for a malloc served from what the heap held: the hot path, which
// moves only what such a malloc can change.
func (l *ledger) hit(r *row, f streams.Figures) {
	l.mu.Lock()
	own := r.payer(l)
	own.move(&l.total, &r.heap, &f)
	own.buffers, l.total.buffers = own.buffers+1, l.total.buffers+1
	own.mallocs, l.total.mallocs = own.mallocs+1, l.total.mallocs+1
	own.hits, l.total.hits = own.hits+1, l.total.hits+1
	own.peak, l.total.peak = max(own.peak, own.Active), max(l.total.peak, l.total.Active)
	l.mu.Unlock()
}

// freed is settle for a free. It returns by how much the cache is above its limit.
func (l *ledger) freed(r *row, f streams.Figures) (excess int64) {
	l.mu.Lock()
	own := r.payer(l)
	pending := f.Pending - r.heap.Pending
	own.Pending += pending
	l.total.Pending += pending
	own.move(&l.total, &r.heap, &f)
	own.buffers, l.total.buffers = own.buffers-1, l.total.buffers-1
	own.frees, l.total.frees = own.frees+1, l.total.frees+1
	excess = l.over(r)
	l.mu.Unlock()
	return excess
}

// over is by how much the cache, or the stream's own, is above its limit; negative:
// below. What is on its way does not count: it is not to be trimmed.
func (l *ledger) over(r *row) int64 {
	return max(l.total.Cache-l.transit-l.cacheLimit, r.heap.Cache-r.cacheLimit)
}

// payer is the account that the row's bytes are on.
func (r *row) payer(l *ledger) *account {
	if r.closed {
		return &l.pool
	}
	return &r.account
}

// move books a heap's new figures, Pending apart, on the account and the total.
func (a *account) move(total *account, old, now *streams.Figures) {
	requested, active := now.Requested-old.Requested, now.Active-old.Active
	cache, slack := now.Cache-old.Cache, now.Slack-old.Slack
	*old = *now
	a.Requested += requested
	a.Active += active
	a.Cache += cache
	a.Slack += slack
	total.Requested += requested
	total.Active += active
	total.Cache += cache
	total.Slack += slack
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
	a.refusals += c.refusals
	a.trims += c.trims
	if c.mallocs > 0 { // a grow, or a malloc that nobody waited for, is no hit
		a.hits += c.mallocs - c.misses
	}
	if c.mallocs > 0 || c.grew { // as in MLX, after a reset the peak stays 0 until the next malloc
		a.peak = max(a.peak, a.Active)
	}
	a.reservedPeak = max(a.reservedPeak, a.Reserved())
}

// reserved is what the stream's own limit bounds: what it has and will have.
func (r *row) reserved() int64 { return r.heap.Reserved() + r.growing + r.coming }

// arrived books n bytes, of which some were promised, as taken from the device
// for a stream, which does not have them yet; coming is how much more is now on
// its way to it.
func (l *ledger) arrived(r *row, promised, n, coming int64) {
	l.mu.Lock()
	l.growing -= promised
	r.growing -= promised
	r.coming += coming
	l.coming += coming
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
func (l *ledger) open(r *row) {
	l.mu.Lock()
	l.rows = append(l.rows, r)
	l.mu.Unlock()
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
	l.pool.hits += r.hits
	l.pool.refusals += r.refusals
	l.pool.trims += r.trims
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
		Hits: a.hits, Refusals: a.refusals, Trims: a.trims,
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
	rows = append(rows, telemetry.Stream{
		Figures: l.pool.export(), MemoryLimit: NoLimit, CacheLimit: NoLimit,
	})
	for _, r := range l.rows {
		rows = append(rows, telemetry.Stream{
			ID: r.id, Name: r.name, Tag: r.tag, Figures: r.export(),
			MemoryLimit: r.memoryLimit, CacheLimit: r.cacheLimit,
		})
	}
	return l.total.export(), rows, telemetry.Limits{Memory: l.memoryLimit, Cache: l.cacheLimit}
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
