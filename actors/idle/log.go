package idle

import "slices"

// Amount is free memory.
type Amount struct {
	Since int64 // when it was freed, at the latest; nanoseconds
	Bytes int64
}

// Log remembers how little was free of late, in rounds from one look to the next.
// The zero Log is ready to use.
//
// Frees and hits are too frequent to be watched, so the least that was free in a
// round is put together from what is seen: what was free at each miss and at the
// looks; and the pages that lie untouched since the round began, together with those
// that only a miss has moved since. The latter counts some pages too many when a page
// that was moved is freed and hit in the same round.
type Log struct{ rounds []round }

// round is the time from one look to the next; the last is still going on. All in
// bytes.
type round struct {
	from  int64 // the look that it began with, nanoseconds
	low   int64 // the least that was free in it, of what was seen
	moved int64 // what misses took of what was free when it began
	idle  int64 // the least that was free ever since: as of the last look
}

// Verdict is what a look finds.
type Verdict struct {
	Give   int64 // bytes that have been idle for long enough
	Since  int64 // since when at least, nanoseconds
	Reused int64 // the longest time that an amount worth mentioning was idle before it was used now, nanoseconds; 0: none was
}

// worth: one part in so many of what was idle has to be used again to count. One
// page in demand must not hold a thousand others.
const worth = 8

// Look tells what is free now and asks what has been idle for as long as patience,
// nanoseconds. What goes back because of it is told by Left.
func (l *Log) Look(now, patience int64, free []Amount) (v Verdict) {
	total := upTo(free, now)
	if n := len(l.rounds); n > 0 {
		r := &l.rounds[n-1]
		r.low = min(r.low, total, upTo(free, r.from)+r.moved)
	}
	low, due := total, -1
	for i := len(l.rounds) - 1; i >= 0; i-- {
		r := &l.rounds[i]
		low = min(low, r.low)
		if used := r.idle - low; used > 0 && used >= r.idle/worth {
			v.Reused = now - r.from
		}
		r.idle = low
		if due < 0 && r.from <= now-patience {
			due = i
			v.Give, v.Since = low, r.from
		}
	}
	l.rounds = slices.Delete(l.rounds, 0, max(due, 0)) // older ones say nothing more
	l.rounds = append(l.rounds, round{from: now, low: total, idle: total})
	return v
}

// Moved tells that a miss took these free pages, and how much was left then.
func (l *Log) Moved(took []Amount, left int64) {
	if n := len(l.rounds); n > 0 {
		r := &l.rounds[n-1]
		r.low = min(r.low, left)
		r.moved += upTo(took, r.from)
	}
}

// Left tells that n bytes went back to the device: they had been free, and are no
// more, without anyone having used them.
func (l *Log) Left(n int64) {
	for i := range l.rounds {
		r := &l.rounds[i]
		r.idle = max(0, r.idle-n)
		r.low = max(0, r.low-n)
	}
}

// upTo sums what was freed by then.
func upTo(as []Amount, then int64) (n int64) {
	for _, a := range as {
		if a.Since <= then {
			n += a.Bytes
		}
	}
	return n
}
