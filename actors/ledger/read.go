package ledger

import (
	"github.com/metalloc/metalloc/internal/steps"
)

// This file reads.

// sumWord is what is granted to all rows, in units, with a version: 40 bits are
// 512 TiB.
const (
	sumBits = 40
	sumMask = uint64(1)<<sumBits - 1
)

func nextSum(old uint64, granted int64) uint64 {
	return (old>>sumBits+1)<<sumBits | units(granted)
}

// Totals are the runtime's bytes at one instant.
type Totals struct{ Active, Peak, Cache, Slack, Reserved int64 }

// glances is how often a reader tries without the mutex. glanced is how many rows
// it looks at.
const (
	glances = 3
	glanced = 32
)

// Active is what all callers hold, bytes, at one instant of the call. Mostly it
// takes no lock and disturbs nobody.
func (l *Ledger) Active() int64 {
	for range glances {
		if active, ok := l.glance(); ok {
			return active
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freeze()
	defer l.thaw()
	return l.activeNow()
}

// glance reads all credits twice. What was the same both times was so all the
// time between; if one row alone has changed, its credit read anew in such a time
// belongs to the same instant as the rest. (With more it would take luck.)
func (l *Ledger) glance() (active int64, ok bool) {
	epoch := l.epoch.Load()
	if epoch&1 != 0 {
		return 0, false
	}
	seats, n := *l.seats.Load(), int(l.seated.Load())
	if n > min(glanced, len(seats)) || l.epoch.Load() != epoch { // they may not be of one time
		return 0, false
	}
	var first [glanced + 1]uint64 // the sum comes last
	if !l.collect(seats[:n], &first) {
		return 0, false
	}
	moved := -1
	if n > 0 && !planted(singleCollect) {
		var second [glanced + 1]uint64
		if !l.collect(seats[:n], &second) {
			return 0, false
		}
		if moved = onlyMove(first[:n+1], second[:n+1], -1); moved == several {
			return 0, false
		}
		first = second
	}
	if moved >= 0 {
		if first[moved] = l.look(seats, moved, n); first[moved]&frozenBit != 0 && moved < n {
			return 0, false
		}
		var third [glanced + 1]uint64
		if !l.collect(seats[:n], &third) || onlyMove(first[:n+1], third[:n+1], moved) == several {
			return 0, false
		}
	}
	if l.epoch.Load() != epoch {
		return 0, false
	}
	granted := first[n] & sumMask
	for _, x := range first[:n] {
		granted -= credit(x)
	}
	return bytes(granted), true
}

// collect reads the rows' words, and then the sum; false: one is frozen.
func (l *Ledger) collect(seats []steps.Pointer[Row], xs *[glanced + 1]uint64) bool {
	for i := range seats {
		r := seats[i].Load()
		if r == nil { // it was taken off a moment ago
			return false
		}
		if xs[i] = r.word.Load(); xs[i]&frozenBit != 0 {
			return false
		}
	}
	xs[len(seats)] = l.sum.Load()
	return true
}

// look reads one of what collect reads.
func (l *Ledger) look(seats []steps.Pointer[Row], i, n int) uint64 {
	if i == n {
		return l.sum.Load()
	}
	if r := seats[i].Load(); r != nil {
		return r.word.Load()
	}
	return frozenBit
}

const several = -2

// onlyMove is the one place where a and b differ, apart from but; -1: none.
func onlyMove(a, b []uint64, but int) int {
	moved := -1
	for i := range a {
		if a[i] != b[i] && i != but {
			if moved >= 0 || but >= 0 {
				return several
			}
			moved = i
		}
	}
	return moved
}

// freeze holds all rows with credit that aren't held; thaw lets go of them.
// Between the two all accounts stand still.
func (l *Ledger) freeze() {
	for i, r := range l.out {
		if i == 0 && planted(noFreeze) {
			r.x = r.word.Load()
			continue
		}
		l.hold(r)
	}
}

func (l *Ledger) thaw() {
	for i, r := range l.out {
		if i == 0 && planted(noFreeze) {
			continue
		}
		r.restore()
	}
}

// restore ends a hold that has changed nothing.
func (r *Row) restore() {
	r.isHeld = false
	r.word.Store(r.x)
}

// activeNow is what is active; all rows with credit are held.
func (l *Ledger) activeNow() int64 {
	active := l.granted
	for _, r := range l.out {
		active -= bytes(credit(r.x))
	}
	return active
}

// totals are read while the rows with credit are held, or there are none.
func (l *Ledger) totals() Totals {
	t := Totals{Active: l.activeNow(), Slack: l.slack, Reserved: l.reserved, Peak: l.peak.peak}
	t.Cache = t.Reserved - t.Active - t.Slack
	return t
}

// Totals reads the runtime's bytes.
func (l *Ledger) Totals() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freeze()
	defer l.thaw()
	if l.leased {
		l.fold(l.out[0])
	}
	return l.totals()
}

// activeNow and cacheNow are the row's bytes; it is held, or has no
// credit.
func (r *Row) activeNow() int64 { return r.granted.Load() - bytes(credit(r.present())) }

func (r *Row) cacheNow() int64 { return r.shelf.held - r.activeNow() }

// present is the row's word, by its holder.
func (r *Row) present() uint64 {
	if r.isHeld {
		return r.x
	}
	return r.word.Load()
}

func (r *Row) book() *book { return &r.books[slotOf(r.present())] }

// standing calls f while the row stands still.
func (l *Ledger) standing(r *Row, f func()) {
	if r.isHeld || !r.out {
		f()
		return
	}
	l.hold(r)
	f()
	r.restore()
}

// cacheOf is what the row's stream has cached.
func (l *Ledger) cacheOf(r *Row) (n int64) {
	l.standing(r, func() { n = r.cacheNow() })
	return n
}

// reservedOf is what the stream's own limit bounds: what it has and will have.
func (l *Ledger) reservedOf(r *Row) (n int64) {
	l.standing(r, func() { n = r.shelf.reserved() })
	return n + r.growing + r.coming
}

// CachedElsewhere tells how much others than the row have cached.
func (l *Ledger) CachedElsewhere(r *Row) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freeze()
	defer l.thaw()
	return l.totals().Cache - l.pool.transit - r.cacheNow()
}

// Cached tells what each of the rows has cached, all at one instant.
func (l *Ledger) Cached(rows []*Row) []int64 {
	cached := make([]int64, len(rows))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freeze()
	defer l.thaw()
	for i, r := range rows {
		cached[i] = r.cacheNow()
	}
	return cached
}
