package ledger

import (
	"slices"

	"github.com/metalloc/metalloc/internal/steps"
)

// This file moves credit: out to the rows and back.

const (
	// leaseAfter: who comes to the mutex so often, and nobody else, gets the lease.
	leaseAfter = 8
	// joinAfter: so often a row without credit comes while others have some, before
	// they share with it.
	joinAfter = 4
	// A crew member that hasn't come for that many turns of each of the crew is
	// left out.
	crewMemory = 16
	// Central counting lasts that many operations at least after credit was used up
	// too soon, twice as many each time; the prototype's figures.
	firstHold, longestHold = 32, 1 << 14
	// What is expected of credit before much is known: 64 operations of each row.
	hopeful = 8 * 64
)

// turns is who has come to the mutex of late.
type turns struct {
	count  uint64
	last   *Row
	streak int
	hold   int    // operations to count centrally before credit is tried again
	after  int    // the next hold
	worth  uint64 // operations between two gatherings, an average times 8
}

// hold freezes the row's word and keeps what it was in r.x: the row's account
// stands still until letGo.
func (l *Ledger) hold(r *Row) {
	if r.out {
		r.x = r.word.Or(frozenBit) &^ frozenBit
	} else {
		r.x = r.word.Load() &^ frozenBit
	}
	r.isHeld = true
}

// letGo ends hold, with r.x as it may have been changed. A row without credit
// stays frozen: its next operation comes to the mutex.
func (l *Ledger) letGo(r *Row) {
	r.isHeld = false
	r.x += version()
	if r.out {
		r.word.Store(r.x)
	} else {
		r.word.Store(r.x | frozenBit)
	}
}

// gather takes all credit back. Afterwards what is granted is what is active, and
// the lease's peak is booked.
func (l *Ledger) gather() {
	if len(l.out) == 0 {
		return
	}
	l.turnEpoch()
	l.seated.Store(0)
	var used, rows uint64
	for _, r := range l.out {
		held := r.isHeld
		if !held {
			l.hold(r)
		}
		if n := (r.x>>versionShift - r.given>>versionShift) & (1<<(64-versionShift) - 1); n > 0 {
			used += n
			l.join(r)
		}
		rows++
		c := credit(r.x)
		r.demand /= 2
		if g := credit(r.given); g > c {
			r.demand += g - c
		}
		r.x -= c
		r.out = false
		l.grant(r, -bytes(c))
		if l.leased && !planted(noFold) {
			l.fold(r)
		}
		if !held {
			l.letGo(r)
		}
	}
	if !l.leased {
		l.turns.gathered(used, rows)
	}
	l.out, l.leased = l.out[:0], false
	l.turnEpoch()
}

// gathered judges whether handing out credit was worth its cost. A single interval
// says little, so it is an average that decides.
func (t *turns) gathered(used, rows uint64) {
	if t.worth == 0 {
		t.worth = hopeful * rows
	}
	t.worth += min(used, 1<<20) - t.worth/8
	switch {
	case t.worth/8 < rows:
		t.after = min(max(2*t.after, firstHold), longestHold)
		t.hold, t.worth = t.after, hopeful*rows
	case used > 1000*rows:
		t.after = 0
	}
}

// fold books the peak that the holder of the lease has made: what the others have
// active has not changed since it got the lease. The row is held.
func (l *Ledger) fold(r *Row) {
	if r.x&freshBit == 0 {
		others := l.granted - r.granted.Load()
		l.newPeak(others + r.books[slotOf(r.x)].high)
	}
}

// join makes the row one of those that will share what credit there is.
func (l *Ledger) join(r *Row) {
	r.seen = l.turns.count
	if !r.inCrew && !r.barred {
		r.inCrew = true
		l.crew = append(l.crew, r)
	}
}

// decide looks, after an operation that moved delta bytes of the row, which is
// held, how to count from here on. While memory grows every malloc makes a peak
// that must be known to all: then, and while the cache is near its limit, nobody
// gets credit.
func (l *Ledger) decide(r *Row, delta int64) {
	if delta == 0 || r.barred || l.bounded.Load() {
		return
	}
	t := &l.turns
	t.count++
	if t.last != r {
		t.last, t.streak = r, 0
	}
	t.streak++
	l.join(r)
	switch {
	case l.leased:
	case len(l.out) > 0:
		if r.visits++; r.visits >= joinAfter {
			l.gather()
			l.share(delta)
		}
	case t.streak >= leaseAfter:
		l.lease(r)
	case t.hold > 0:
		t.hold--
	default:
		l.share(delta)
	}
}

// share hands out credit if there is enough of it for two operations like this one.
// Whether that pays shows in time (see gathered); how much is active besides, or how
// high the peak is, says nothing about it.
func (l *Ledger) share(delta int64) {
	room := l.lowest() - l.granted
	if room < 2*max(delta, -delta) {
		return
	}
	oldest := l.turns.count - min(l.turns.count, uint64(crewMemory*len(l.crew)))
	l.crew = slices.DeleteFunc(l.crew, func(r *Row) bool {
		r.inCrew = r.seen >= oldest
		return !r.inCrew
	})
	if len(l.crew) > 1 {
		l.handOut(units(room))
	}
}

// handOut divides room among the crew by what each has drawn of late.
func (l *Ledger) handOut(room uint64) {
	l.turnEpoch()
	var demand float64
	for _, r := range l.crew {
		demand += float64(r.demand + 1)
	}
	left := room
	for i, r := range l.crew {
		share := min(left, uint64(float64(room)*float64(r.demand+1)/demand), mostCredit)
		if i == len(l.crew)-1 {
			share = min(left, mostCredit)
		}
		left -= share
		l.seat(r, share)
	}
	l.clearCrew()
	l.sit()
}

// lease gives one row all the credit that it can use: while no other stream mallocs
// or frees, its own highest active tells the runtime's peak.
func (l *Ledger) lease(r *Row) {
	l.turnEpoch()
	b := &r.books[slotOf(r.x)]
	if r.x&freshBit == 0 {
		r.peak = max(r.peak, b.high)
	}
	if !planted(staleLease) {
		r.x |= freshBit
	}
	l.leased = true
	l.seat(r, leaseCredit)
	l.clearCrew()
	l.sit()
}

func (l *Ledger) clearCrew() {
	for _, r := range l.crew {
		r.inCrew = false
	}
	l.crew = l.crew[:0]
}

// seat gives the row its share.
func (l *Ledger) seat(r *Row, share uint64) {
	held := r.isHeld
	if !held {
		l.hold(r)
	}
	l.grant(r, bytes(share))
	if planted(offByOne) {
		share++
	}
	r.x += share
	r.out, r.visits = true, 0
	l.out = append(l.out, r)
	r.given = r.x + version() // as letGo will leave it
	if !held {
		l.letGo(r)
	}
}

// sit shows the rows with credit to readers that don't take the mutex, and ends
// the change of epoch.
func (l *Ledger) sit() {
	seats := *l.seats.Load()
	if len(seats) < len(l.out) {
		seats = make([]steps.Pointer[Row], 2*len(l.out))
		l.seats.Store(&seats)
	}
	for i, r := range l.out {
		if seats[i].Load() != r {
			seats[i].Store(r)
		}
	}
	for i := len(l.out); i < len(seats) && seats[i].Load() != nil; i++ {
		seats[i].Store(nil) // it may be a closed stream's
	}
	l.seated.Store(int64(len(l.out)))
	l.turnEpoch()
}

// turnEpoch begins a change of who has credit, and ends it.
func (l *Ledger) turnEpoch() {
	if !planted(stillEpoch) {
		l.epoch.Add(1)
	}
}
