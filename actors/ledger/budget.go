package ledger

import (
	"cmp"
	"slices"
)

// Budget is how a limit stands, bytes: of the runtime, or of the stream whose own
// limit it is, with what is on its way there.
type Budget struct {
	Limit                          int64
	Reserved, Active, Cache, Slack int64

	Promised int64 // to misses under way, not taken from the device yet
	Coming   int64 // of Cache: pages on their way to a stream
	Leaving  int64 // of Cache: pages on their way back to the device
}

// Budget reads how the runtime's memory limit stands, or with own the stream's.
func (l *Ledger) Budget(r *Row, own bool) (b Budget) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freeze()
	defer l.thaw()
	if !own {
		t := l.totals()
		return Budget{
			Limit: l.memoryLimit, Reserved: t.Reserved, Active: t.Active, Cache: t.Cache, Slack: t.Slack,
			Promised: l.growing, Coming: l.pool.coming, Leaving: l.pool.transit - l.pool.coming,
		}
	}
	l.standing(r, func() {
		b = Budget{Limit: r.memoryLimit, Active: r.activeNow(), Cache: r.cacheNow() + r.coming, Slack: r.shelf.slack}
	})
	b.Reserved = b.Active + b.Cache + b.Slack
	b.Promised, b.Coming = r.growing, r.coming
	return b
}

// Holder is a stream that holds memory.
type Holder struct {
	ID       uint64
	Reserved int64 // bytes
}

// Holders lists the streams that hold memory, closed ones included, the largest
// first.
func (l *Ledger) Holders() (hs []Holder) {
	l.still(func() {
		hs = hs[:0]
		for _, rows := range [][]*Row{l.rows, l.closed} {
			for _, r := range rows {
				if a := l.accountOf(r); a.reserved() > 0 {
					hs = append(hs, Holder{r.ID, a.reserved()})
				}
			}
		}
	})
	slices.SortFunc(hs, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(b.Reserved, a.Reserved), cmp.Compare(a.ID, b.ID))
	})
	return hs
}
