package actors

// This file is the ledger's limits.

// verdict is what the ledger says to growth.
type verdict struct {
	ok      bool
	reclaim int64  // take that much back from caches first, then ask again
	own     bool   // from the stream's own, since its own limit wants it
	leaving int64  // there is room once that much has got back to the device
	over    int64  // by how much reserved would pass the limit
	whose   string // limit
}

// grow promises n bytes to a stream's miss if the limits and the policy allow.
// askedOwn says that the stream's cache was taken back already for the stream's
// limit, asked that everyone's was for the runtime's.
func (l *ledger) grow(r *row, n int64, p Policy, askedOwn, asked bool) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	after := l.total.Reserved() + l.growing + n
	own := r.reserved() + n
	switch {
	case !askedOwn && own > r.memoryLimit && r.heap.Cache > 0:
		return verdict{reclaim: own - r.memoryLimit, own: true}
	case !asked && after > l.threshold && l.total.Cache > 0:
		return verdict{reclaim: after - l.threshold}
	}
	if p != Guide && own > r.memoryLimit {
		return verdict{over: own - r.memoryLimit, whose: "stream's memory"}
	}
	if leaving := l.transit - l.coming; p != Guide && after > l.memoryLimit && after-leaving <= l.memoryLimit {
		return verdict{leaving: leaving, over: after - l.memoryLimit, whose: "memory"}
	}
	if p != Guide && after > l.memoryLimit {
		return verdict{over: after - l.memoryLimit, whose: "memory"}
	}
	l.growing += n
	r.growing += n
	return verdict{ok: true}
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

// setStreamLimit sets one of a stream's own limits, and returns the one before
// and by how much the stream is above the new one.
func (l *ledger) setStreamLimit(r *row, n int64, cache bool) (previous, over int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cache {
		previous, r.cacheLimit = r.cacheLimit, n
		return previous, r.heap.Cache - n
	}
	previous, r.memoryLimit = r.memoryLimit, n
	return previous, r.reserved() - n
}

func (l *ledger) streamLimits(r *row) (memory, cache int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.memoryLimit, r.cacheLimit
}

func (l *ledger) limits() (memory, cache int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memoryLimit, l.cacheLimit
}

// cacheExcess is by how much the cache, or the stream's own, is above its limit
// now, or 0.
func (l *ledger) cacheExcess(r *row) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.over(r))
}
