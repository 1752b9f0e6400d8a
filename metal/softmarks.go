package metal

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// SoftMarks is [Marker] and [SoftQueuer] over soft queues, for devices to embed
// that have no queues of their own. The zero value is ready to use and has no
// clock. A queue is kept for as long as its SoftMarks.
//
// A mark counts the pieces submitted before it and is reached when they are
// done. On a failed queue Record gives the failure; on a queue that was not made
// here Record and Reached give [ErrUnknownHandle] and Notify calls at once.
type SoftMarks struct {
	clock Clock
	mu    sync.Mutex // serialises NewQueue
	table atomic.Pointer[queueTable]
}

// queueTable finds a queue by its handle without a lock or a hash. Handles count
// up through the process, so those of the queues that other devices made in the
// meantime are holes (nil).
type queueTable struct {
	first  Queue
	queues []*SoftQueue
}

// NewSoftMarks returns an empty set whose queues use clock; nil: no clock.
func NewSoftMarks(clock Clock) *SoftMarks { return &SoftMarks{clock: clock} }

// NewQueue implements [SoftQueuer]. The error is always nil.
func (m *SoftMarks) NewQueue() (*SoftQueue, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := NewSoftQueue(m.clock) // inside the lock, so that handles here only grow
	t := queueTable{first: q.handle}
	if old := m.table.Load(); old != nil {
		t = *old
	}
	for t.first+Queue(len(t.queues)) < q.handle {
		t.queues = append(t.queues, nil)
	}
	// Appending in place is safe: readers of an older table stop at its length.
	t.queues = append(t.queues, q)
	m.table.Store(&t)
	return q, nil
}

// Record implements [Marker].
func (m *SoftMarks) Record(q Queue) (Mark, error) {
	if q == 0 {
		return Mark{}, nil
	}
	s := m.find(q)
	if s == nil {
		return Mark{}, unknownQueue(q)
	}
	return s.record()
}

// Reached implements [Marker].
func (m *SoftMarks) Reached(mark Mark) (bool, error) {
	if mark.Queue == 0 {
		return true, nil
	}
	s := m.find(mark.Queue)
	if s == nil {
		return false, unknownQueue(mark.Queue)
	}
	return s.reached(mark.Seq)
}

// Notify implements [Marker].
func (m *SoftMarks) Notify(mark Mark, f func()) {
	if s := m.find(mark.Queue); s != nil {
		s.notify(mark.Seq, f)
		return
	}
	f()
}

// find returns nil for 0 and for a queue that was not made here.
func (m *SoftMarks) find(q Queue) *SoftQueue {
	t := m.table.Load()
	if t == nil {
		return nil
	}
	i := q - t.first // wraps round to a large number below first
	if i >= Queue(len(t.queues)) {
		return nil
	}
	return t.queues[i]
}

func unknownQueue(q Queue) error {
	return fmt.Errorf("queue %d was not made by this device: %w", q, ErrUnknownHandle)
}
