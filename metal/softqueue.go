package metal

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// SoftQueue is an ordered queue of work whose progress the program reports
// itself: it says when a piece of work is put in (Submit) and when it is done
// (Complete, Fail), and the queue does the counting. Devices without queues of
// their own use it (see [SoftQueuer]), and tests as a GPU stream whose speed they
// choose. Safe for concurrent use.
//
// Pieces are numbered from 1 in the order they are submitted and are done in
// that order. Functions given to [Marker.Notify] run on the goroutine whose call
// completed or failed the piece, outside any lock.
type SoftQueue struct {
	handle    Queue
	clock     Clock
	submitted atomic.Uint64
	completed atomic.Uint64         // ≤ submitted; grows under mu only
	failure   atomic.Pointer[error] // set once, under mu

	mu      sync.Mutex
	timed   []timedPiece // not done yet, by seq
	waiters []waiter     // not reached yet, by seq
}

type timedPiece struct {
	seq uint64
	at  time.Duration
}

type waiter struct {
	seq uint64
	f   func()
}

// lastQueue numbers the queues of the whole process, so that a device does not
// take another device's queue for its own.
var lastQueue atomic.Uintptr

// NewSoftQueue makes a queue that no device knows; its progress can be driven,
// but marks need one made by a device's NewQueue or by [SoftMarks.NewQueue].
// clock is for SubmitUntil alone and may be nil.
func NewSoftQueue(clock Clock) *SoftQueue {
	return &SoftQueue{handle: Queue(lastQueue.Add(1)), clock: clock}
}

// Handle names the queue to the device that made it. Never 0, and unique in the
// process.
func (q *SoftQueue) Handle() Queue { return q.handle }

// Submit puts in one more piece of work and returns its number.
func (q *SoftQueue) Submit() uint64 { return q.submitted.Add(1) }

// SubmitUntil puts in a piece of work that is done by itself once the clock has
// reached t and all pieces before it are done, and returns its number. The
// clock must be an [Alarm]: otherwise ErrUnsupported, and nothing is submitted.
func (q *SoftQueue) SubmitUntil(t time.Duration) (uint64, error) {
	clock, ok := q.clock.(Alarm)
	if !ok {
		return 0, fmt.Errorf("submit until %v: the queue's clock (%T) is no metal.Alarm: %w", t, q.clock, ErrUnsupported)
	}
	q.mu.Lock()
	seq := q.submitted.Add(1)
	q.timed = append(q.timed, timedPiece{seq, t})
	q.mu.Unlock()
	clock.At(t, func() { q.progress(0) })
	return seq, nil
}

// Complete reports that all work up to and including piece seq is done. A seq
// that is done already, or a failed queue: no effect. Beyond what was submitted:
// as CompleteAll.
func (q *SoftQueue) Complete(seq uint64) { q.progress(seq) }

// CompleteAll reports that all work submitted so far is done.
func (q *SoftQueue) CompleteAll() { q.progress(math.MaxUint64) }

// Fail reports that the queue will do no more work: marks not reached so far
// never will be, and asking for them gives an error that wraps err (nil:
// [ErrDeviceLost]). The first failure stays.
func (q *SoftQueue) Fail(err error) {
	if err == nil {
		err = ErrDeviceLost
	}
	err = fmt.Errorf("queue %d failed: %w", q.handle, err)
	q.mu.Lock()
	if q.failure.Load() != nil {
		q.mu.Unlock()
		return
	}
	q.failure.Store(&err)
	freed := q.waiters
	q.waiters, q.timed = nil, nil
	q.mu.Unlock()
	call(freed)
}

// progress moves completed up to seq, then over the timed pieces that follow
// and whose time has come.
func (q *SoftQueue) progress(seq uint64) {
	var now time.Duration
	if q.clock != nil {
		now = q.clock.Now()
	}
	q.mu.Lock()
	if q.failure.Load() != nil {
		q.mu.Unlock()
		return
	}
	done := max(q.completed.Load(), min(seq, q.submitted.Load()))
	n := 0
	for _, p := range q.timed {
		if p.seq > done+1 || p.seq == done+1 && p.at > now {
			break
		}
		done = max(done, p.seq)
		n++
	}
	q.timed = q.timed[n:]
	q.completed.Store(done)
	freed := q.takeWaiters(done)
	q.mu.Unlock()
	call(freed)
}

// takeWaiters removes and returns the waiters up to done. REQUIRES: q.mu.
func (q *SoftQueue) takeWaiters(done uint64) []waiter {
	n := 0
	for n < len(q.waiters) && q.waiters[n].seq <= done {
		n++
	}
	if n == 0 {
		return nil
	}
	taken := slices.Clone(q.waiters[:n])
	q.waiters = slices.Delete(q.waiters, 0, n)
	return taken
}

func call(ws []waiter) {
	for _, w := range ws {
		w.f()
	}
}

func (q *SoftQueue) record() (Mark, error) {
	if err := q.failure.Load(); err != nil {
		return Mark{}, *err
	}
	return Mark{Queue: q.handle, Seq: q.submitted.Load()}, nil
}

func (q *SoftQueue) reached(seq uint64) (bool, error) {
	if q.completed.Load() >= seq {
		return true, nil
	}
	err := q.failure.Load()
	if err == nil {
		return false, nil
	}
	// It may have got there between the two loads, before it failed.
	if q.completed.Load() >= seq {
		return true, nil
	}
	return false, *err
}

func (q *SoftQueue) notify(seq uint64, f func()) {
	q.mu.Lock()
	if q.completed.Load() >= seq || q.failure.Load() != nil {
		q.mu.Unlock()
		f()
		return
	}
	// Marks are mostly waited for in the order they were recorded, so look from
	// the end.
	i := len(q.waiters)
	for i > 0 && q.waiters[i-1].seq > seq {
		i--
	}
	q.waiters = slices.Insert(q.waiters, i, waiter{seq, f})
	q.mu.Unlock()
}
