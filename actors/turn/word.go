// Package turn is a protoactor mailbox whose exclusive turn can also be taken by
// the goroutine that calls the actor (an inline turn), and the dispatcher that
// runs such mailboxes.
//
// # The word
//
// All scheduling state is one word. It is 0 exactly when the actor is alive,
// idle and has nothing queued, so that entering is CAS(0, running) and leaving
// is CAS(running, 0). Everything else is the slow path:
//
//	bit          set by                             cleared by
//	running      whoever takes the turn             the turn's holder, letting go
//	userPending  a poster, after its push           the holder, before it takes the queue
//	sysPending   a poster, after its push           the holder, before it takes the queue
//	errand       who leaves something, after that;  the holder, before it calls errands
//	             the holder, if errands panicked
//	suspended    the holder, on *SuspendMailbox     the holder, on *ResumeMailbox
//	unborn       New                                the holder, on *Started
//	stopped      whoever posts *Stop, along with    never
//	             sysPending; the holder, on *Stop
//
// # Invariants
//
//  1. Who turned running from 0 to 1 holds the turn. The turn is passed on by
//     scheduling the run loop with running left set; nobody can slip in between.
//     New holds it until RegisterHandlers has made scheduling possible.
//  2. A pending bit is set after the push and cleared before the take; so is
//     errand, with errands taking. So a poster that finds its bit set already may
//     go: the take is still to come.
//  3. running is cleared only by a CAS from a word without runnable work, and a
//     poster that makes work runnable while nobody runs takes the turn in the
//     same CAS and schedules the run loop. So with running clear no work is
//     runnable, and no wake-up is lost. Errands are runnable as user work is, but
//     start no run loop: who is inside serves them on its way out, and who leaves
//     some with an idle actor takes the turn and does the same.
//  4. While running is clear the system queue's taken part is empty, and the user
//     queue's is empty unless the actor is suspended or unborn. If it is stopped
//     as well, only foreign messages are left: every op has been failed.
//  5. suspended and unborn change only in the turn, so what the holder has read
//     of them stays true until it changes them itself.
//
// Nobody waits for ever on a stopped actor: a Post that sees stopped is refused;
// one that had looked before makes work that is runnable whatever else the word
// says (3), and the run loop fails it; what was queued is failed after *Stop was
// handled, in the same turn (4). Nor is anything left for good: Leave looks for
// stopped in the very word that it adds errand to, so all that it accepted is
// runnable when *Stop is handled, and served before that turn ends (3).
package turn

const (
	running uint32 = 1 << iota
	userPending
	sysPending
	errand
	suspended
	unborn
	stopped
)

// heldBack: user work may not reach the actor.
func heldBack(w uint32) bool { return w&(suspended|unborn) != 0 }

// runnable: the turn's holder has something to do. Held back user work is
// runnable once the actor is stopped, because queued ops must then be failed and
// errands be served: nothing else will happen to them.
func runnable(w uint32) bool {
	return w&sysPending != 0 || w&(userPending|errand) != 0 && (!heldBack(w) || w&stopped != 0)
}

// errandsDue: errands may be called. The system's messages go first, among them
// the *Stop without which an actor that is held back isn't to be touched.
func errandsDue(w uint32) bool { return w&(errand|sysPending) == errand && runnable(w) }

// posted is the word after bits were published by a poster. start: the poster
// has taken the turn and owes the run loop a start, or errands a call.
func posted(w, bits uint32) (next uint32, start bool) {
	next = w | bits
	if w&running == 0 && runnable(next) {
		return next | running, true
	}
	return next, false
}
