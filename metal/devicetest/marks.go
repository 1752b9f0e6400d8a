package devicetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

func checkQueueZero(s *subject) {
	mark, err := s.marker.Record(0)
	require.NoError(s, err)
	for _, m := range []metal.Mark{mark, {}} {
		require.True(s, s.reached(m), "%+v", m)
		s.calledOnce(s.watch(m), "for a mark that is reached already")
	}
}

// checkOrder: a mark is reached when all work before it is done, and no sooner.
func checkOrder(s *subject) {
	q, other := s.queue(), s.queue()
	require.NotEqual(s, q.Handle(), other.Handle())
	require.True(s, s.reached(s.record(q)), "nothing was submitted")

	const n = 20
	var marks [n]metal.Mark
	for i := range marks {
		q.Submit()
		marks[i] = s.record(q)
	}
	other.Submit()
	for done := range uint64(n + 1) {
		q.Complete(done)
		for i, m := range marks {
			require.Equal(s, uint64(i+1) <= done, s.reached(m), "the mark behind piece %d, when %d are done", i+1, done)
		}
	}
	require.False(s, s.reached(s.record(other)), "the other queue did not move")
	other.CompleteAll()
	require.True(s, s.reached(s.record(other)))
}

func checkNotify(s *subject) {
	q := s.queue()
	first := q.Submit()
	a := s.record(q)
	q.Submit()
	b := s.record(q)

	onB, onA, againOnA := s.watch(b), s.watch(a), s.watch(a)
	require.Zero(s, onA.calls.Load()+againOnA.calls.Load()+onB.calls.Load(), "calls before the mark is reached")
	q.Complete(first)
	s.calledOnce(onA, "when the mark is reached")
	s.calledOnce(againOnA, "when the mark is reached, the second waiter")
	require.Zero(s, onB.calls.Load(), "calls for a later mark")
	q.CompleteAll()
	q.CompleteAll()
	s.calledOnce(onB, "when the later mark is reached")
	s.calledOnce(onA, "and not again later on")
	s.calledOnce(s.watch(b), "for a mark that is reached already")
}

func checkFailedQueue(s *subject) {
	q := s.queue()
	q.Submit()
	done := s.record(q)
	q.CompleteAll()
	q.Submit()
	stuck := s.record(q)
	waiter := s.watch(stuck)
	require.Zero(s, waiter.calls.Load(), "calls before the failure")
	cause := errors.New("kernel fault")
	q.Fail(cause)
	q.CompleteAll()

	require.True(s, s.reached(done), "the mark was reached before the failure")
	ok, err := s.marker.Reached(stuck)
	require.False(s, ok)
	require.ErrorIs(s, err, cause)
	s.calledOnce(waiter, "when the queue has failed")
	s.calledOnce(s.watch(stuck), "for a queue that has failed already")
}

func checkUnknownQueue(s *subject) {
	foreign := metal.NewSoftQueue(nil).Handle()
	_, err := s.marker.Record(foreign)
	require.ErrorIs(s, err, metal.ErrUnknownHandle, "record")
	ok, err := s.marker.Reached(metal.Mark{Queue: foreign, Seq: 1})
	require.False(s, ok)
	require.ErrorIs(s, err, metal.ErrUnknownHandle, "reached")
}

// checkConcurrentMarks has goroutines record, poll and wait on queues they share.
func checkConcurrentMarks(s *subject) {
	const goroutines, marks = 4, 100
	queues := []*metal.SoftQueue{s.queue(), s.queue()}
	var watchers [goroutines][]*watcher
	errs := make(chan error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			q := queues[g%len(queues)]
			for range marks {
				q.Submit()
				m, err := s.marker.Record(q.Handle())
				if err != nil {
					errs <- err
					return
				}
				watchers[g] = append(watchers[g], s.watch(m))
				q.Complete(m.Seq)
				if ok, err := s.marker.Reached(m); !ok || err != nil {
					errs <- fmt.Errorf("%+v completed, reached %v: %w", m, ok, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	require.NoError(s, <-errs)
	for _, ws := range watchers {
		for _, w := range ws {
			s.calledOnce(w, "with several goroutines at work")
		}
	}
}

func (s *subject) queue() *metal.SoftQueue {
	q, err := s.queues.NewQueue()
	require.NoError(s, err)
	require.NotZero(s, q.Handle())
	return q
}

func (s *subject) record(q *metal.SoftQueue) metal.Mark {
	m, err := s.marker.Record(q.Handle())
	require.NoError(s, err)
	return m
}

func (s *subject) reached(m metal.Mark) bool {
	ok, err := s.marker.Reached(m)
	require.NoError(s, err)
	return ok
}

// watcher counts the calls that Notify makes, on whatever goroutine.
type watcher struct {
	calls atomic.Int64
	early atomic.Int64 // of calls, those that came before the mark was reached
	first chan struct{}
}

func (s *subject) watch(m metal.Mark) *watcher {
	w := &watcher{first: make(chan struct{})}
	s.marker.Notify(m, func() {
		if ok, err := s.marker.Reached(m); !ok && err == nil {
			w.early.Add(1)
		}
		if w.calls.Add(1) == 1 {
			close(w.first)
		}
	})
	return w
}

// patience is how long a call may take to come before it counts as missing.
var patience = 10 * time.Second

func (s *subject) calledOnce(w *watcher, when string) {
	select {
	case <-w.first:
	case <-time.After(patience):
		require.Fail(s, "no call "+when)
	}
	require.EqualValues(s, 1, w.calls.Load(), "calls "+when)
	require.Zero(s, w.early.Load(), "calls before the mark was reached")
}
