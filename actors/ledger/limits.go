package ledger

import "math"

// This file is the ledger's limits.

const noLimit = math.MaxInt64

// Verdict is what the ledger says to growth.
type Verdict struct {
	OK      bool
	Reclaim int64  // take that much back from caches first, then ask again
	Own     bool   // it is the stream's own limit that says so: from its own cache
	Leaving int64  // there is room once that much has got back to the device
	Cache   int64  // is cached: with all of it there would be room
	Over    int64  // by how much reserved would pass the limit
	Whose   string // limit
}

// Grow promises n bytes to a stream's miss if the limits allow; n not positive: all
// it needs, and so much more than that, is on its way to the stream already, and only
// the stream's own limit has a say. guide: limits only ask for caches. askedOwn says that the stream's cache was taken back already
// for the stream's limit, asked that everyone's was for the runtime's.
func (l *Ledger) Grow(r *Row, n int64, guide, askedOwn, asked bool) Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freeze()
	defer l.thaw()
	after := l.reserved + l.growing + n
	own := l.reservedOf(r) + n
	switch {
	case !askedOwn && own > r.memoryLimit && l.cacheOf(r) > 0:
		return Verdict{Reclaim: own - r.memoryLimit, Own: true}
	case n > 0 && !asked && after > l.threshold && l.totals().Cache > 0:
		return Verdict{Reclaim: after - l.threshold}
	}
	if !guide && own > r.memoryLimit {
		return Verdict{Own: true, Over: own - r.memoryLimit, Whose: "stream's memory"}
	}
	if n <= 0 {
		return Verdict{OK: true}
	}
	if leaving := l.pool.transit - l.pool.coming; !guide && after > l.memoryLimit && after-leaving <= l.memoryLimit {
		return Verdict{Leaving: leaving, Over: after - l.memoryLimit, Whose: "memory"}
	}
	if !guide && after > l.memoryLimit {
		v := Verdict{Over: after - l.memoryLimit, Whose: "memory"}
		if cache := l.totals().Cache - l.pool.coming; after-cache <= l.memoryLimit {
			v.Cache = cache
		}
		return v
	}
	l.growing += n
	r.growing += n
	return Verdict{OK: true}
}

// Fits reports whether n more bytes can be within the stream's own limit, with all that
// it has cached given back. If not, nobody should lend it any: others might be
// refused for what it then holds in vain.
func (l *Ledger) Fits(r *Row, n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.memoryLimit == noLimit {
		return true
	}
	l.freeze()
	defer l.thaw()
	return l.reservedOf(r)-l.cacheOf(r)+n <= r.memoryLimit
}

// Arrived books n bytes, of which some were promised, as taken from the device for
// a stream, which does not have them yet; coming is how much more is now on its
// way to it.
func (l *Ledger) Arrived(r *Row, promised, n, coming int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.growing -= promised
	r.growing -= promised
	r.coming += coming
	l.pool.coming += coming
	l.pool.transit += n
	l.reserved += n
	l.reservedPeak = max(l.reservedPeak, l.reserved)
	l.pool.raise()
	l.bound()
}

// Left books n bytes that no stream has as given back to the device.
func (l *Ledger) Left(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.transit -= n
	l.reserved -= n
	l.bound()
}

// bound: cache can be above its limit only while reserved is. Then counting is
// central, so that each free knows.
func (l *Ledger) bound() {
	b := l.reserved > l.cacheLimit
	if b != l.bounded.Load() {
		l.bounded.Store(b)
		l.gather()
	}
}

// Bounded reports whether the cache may be at its limit.
func (l *Ledger) Bounded() bool { return l.bounded.Load() }

// over is by how much the cache, or the stream's own, is above its limit; negative:
// below. What is on its way does not count: it is not to be trimmed.
func (l *Ledger) over(r *Row) int64 {
	own := l.cacheOf(r) - r.cacheLimit.Load()
	if !l.bounded.Load() {
		return own
	}
	return max(l.totals().Cache-l.pool.transit-l.cacheLimit, own)
}

// CacheExcess is by how much the cache, or the stream's own, is above its limit
// now, or 0.
func (l *Ledger) CacheExcess(r *Row) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.over(r))
}

// SetMemoryLimit and SetCacheLimit return the limit before, and by how much the
// figure is above the new one.
func (l *Ledger) SetMemoryLimit(n, threshold int64) (previous, over int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	previous, l.memoryLimit, l.threshold = l.memoryLimit, n, threshold
	return previous, l.reserved + l.growing - n
}

// SetCacheLimit is explained at SetMemoryLimit.
func (l *Ledger) SetCacheLimit(n int64) (previous, over int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	previous, l.cacheLimit = l.cacheLimit, n
	l.bound()
	l.freeze()
	defer l.thaw()
	return previous, l.totals().Cache - l.pool.transit - n
}

// SetMemoryLimitOf and SetCacheLimitOf set a stream's own limits; the owner calls
// them. They return the limit before and by how much the stream is above the new
// one.
func (l *Ledger) SetMemoryLimitOf(r *Row, n int64) (previous, over int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	previous, r.memoryLimit = r.memoryLimit, n
	return previous, l.reservedOf(r) - n
}

// SetCacheLimitOf is explained at SetMemoryLimitOf.
func (l *Ledger) SetCacheLimitOf(r *Row, n int64) (previous, over int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	previous = r.cacheLimit.Load()
	r.cacheLimit.Store(n)
	r.bell.Store(min(n, r.rings))
	return previous, l.cacheOf(r) - n
}

// Ring has the owner's frees tell (Row.Free, Row.TakenUp) when the stream has more
// than n bytes in its cache, as if that were its limit; NoLimit ends it. It costs a
// free nothing until then. Nothing is trimmed because of it.
func (l *Ledger) Ring(rows []*Row, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range rows {
		r.rings = n
		r.bell.Store(min(n, r.cacheLimit.Load()))
	}
}

// LimitsOf gives a stream's own limits, bytes.
func (l *Ledger) LimitsOf(r *Row) (memory, cache int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.memoryLimit, r.cacheLimit.Load()
}

// Limits gives the runtime's limits, bytes.
func (l *Ledger) Limits() (memory, cache int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memoryLimit, l.cacheLimit
}
