package idle

import (
	"slices"
	"time"
)

// Patience is how long free memory is kept. It adapts between 100 ms and a minute:
//
//   - Memory that was given back is taken again. Had patience been as long as the
//     time between its free and now, it would be here still: patience becomes twice
//     that. So each wrong give-back at least doubles it, and between one second and
//     the bound there are at most six in a row. What was idle for longer than the
//     bound was given back rightly.
//   - Memory that was kept is used again after more than three eighths of patience:
//     it was kept rightly, patience stays.
//   - Neither was seen in sixteen times patience: patience halves.
//
// So a program that needs memory every 5 s gives it back once and keeps it from then
// on; one that needs it every ten minutes gives it back each time, after a minute at
// most. With a period above the bound keeping would cost ten times and more what
// giving back does, whatever memory is worth.
type Patience struct {
	now   int64
	fixed bool
	quiet int    // looks since it was last found right or too short
	gone  []gone // what was given back of late, in order
}

// gone is memory that was given back.
type gone struct {
	since  int64 // idle since then at least
	bytes  int64
	missed int64 // of these, taken again
}

const (
	least = int64(100 * time.Millisecond)
	first = int64(time.Second)
	most  = int64(time.Minute)

	// A look comes eight times in a patience, so that ages are known well enough, but
	// never more often than is worth waking up for.
	looks     = 8
	leastLook = int64(50 * time.Millisecond)
)

// NewPatience gives one that adapts, or is always the same if fixed > 0.
func NewPatience(fixed time.Duration) *Patience {
	if fixed > 0 {
		return &Patience{now: int64(fixed), fixed: true}
	}
	return &Patience{now: first}
}

// Now is the patience now, nanoseconds.
func (p *Patience) Now() int64 { return p.now }

// Next is how long to wait for the next look.
func (p *Patience) Next() time.Duration {
	return time.Duration(min(max(p.now/looks, leastLook), most/looks))
}

// Gave tells that bytes went back that had been idle since then.
func (p *Patience) Gave(since, bytes int64) {
	if !p.fixed {
		p.gone = append(p.gone, gone{since: since, bytes: bytes})
	}
}

// Grew tells that n bytes were taken from the device: as much of what went back is
// missed, what was given back last first.
func (p *Patience) Grew(now, n int64) {
	p.forget(now)
	for i := len(p.gone) - 1; i >= 0 && n > 0; i-- {
		g := &p.gone[i]
		d := min(n, g.bytes-g.missed)
		n -= d
		g.missed += d
		if d > 0 && g.missed >= g.bytes/worth {
			p.now = max(p.now, min(2*(now-g.since), most))
			p.quiet = 0
		}
	}
}

// Looked tells what a look found: memory was used that had been idle for so long,
// nanoseconds; 0: none was.
func (p *Patience) Looked(now, reused int64) {
	p.forget(now)
	switch {
	case p.fixed:
	case reused >= p.now*3/8:
		p.quiet = 0
	case p.quiet < 16*looks:
		p.quiet++
	default:
		p.quiet = 0
		p.now = max(p.now/2, least)
	}
}

// forget drops what no patience would have kept.
func (p *Patience) forget(now int64) {
	p.gone = slices.DeleteFunc(p.gone, func(g gone) bool { return now-g.since > most })
}
