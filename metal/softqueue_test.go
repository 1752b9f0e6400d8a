package metal

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// newQueue gives a queue and the marks that know it.
func newQueue(t *testing.T, clock Clock) (*SoftMarks, *SoftQueue) {
	t.Helper()
	m := NewSoftMarks(clock)
	q, err := m.NewQueue()
	require.NoError(t, err)
	return m, q
}

func record(t *testing.T, m *SoftMarks, q *SoftQueue) Mark {
	t.Helper()
	mark, err := m.Record(q.Handle())
	require.NoError(t, err)
	return mark
}

func reached(t *testing.T, m *SoftMarks, mark Mark) bool {
	t.Helper()
	ok, err := m.Reached(mark)
	require.NoError(t, err)
	return ok
}

func TestMarkIsReachedWhenThePiecesBeforeItAreDone(t *testing.T) {
	m, q := newQueue(t, nil)
	require.True(t, reached(t, m, record(t, m, q)), "nothing submitted")

	first := q.Submit()
	second := q.Submit()
	require.Equal(t, []uint64{1, 2}, []uint64{first, second})
	mark := record(t, m, q)
	third := q.Submit()

	q.Complete(first)
	require.False(t, reached(t, m, mark))
	q.Complete(second)
	require.True(t, reached(t, m, mark))
	last := record(t, m, q)
	require.False(t, reached(t, m, last))
	q.Complete(first) // lower than before
	require.True(t, reached(t, m, mark))
	q.Complete(third)
	require.True(t, reached(t, m, last))
}

func TestCompleteStopsAtWhatWasSubmitted(t *testing.T) {
	m, q := newQueue(t, nil)
	q.Submit()
	q.Complete(math.MaxUint64)
	q.Submit()
	mark := record(t, m, q)
	require.False(t, reached(t, m, mark), "work submitted later is not done")
	q.CompleteAll()
	require.True(t, reached(t, m, mark))
}

func TestSubmitUntil(t *testing.T) {
	clock := new(VirtualClock)
	m, q := newQueue(t, clock)
	byHand := q.Submit()
	seq, err := q.SubmitUntil(10)
	require.NoError(t, err)
	require.Equal(t, byHand+1, seq)
	_, err = q.SubmitUntil(30)
	require.NoError(t, err)
	q.Submit()

	called := 0
	m.Notify(Mark{q.Handle(), seq}, func() { called++ })
	clock.Set(20)
	require.Zero(t, called, "a timed piece waits for the piece before it")
	q.Complete(byHand)
	require.Equal(t, 1, called)

	third := Mark{q.Handle(), seq + 1}
	require.False(t, reached(t, m, third))
	clock.Set(30)
	require.True(t, reached(t, m, third))
	require.False(t, reached(t, m, record(t, m, q)), "the last piece is completed by hand")

	_, err = q.SubmitUntil(5) // the time has passed
	require.NoError(t, err)
	require.False(t, reached(t, m, record(t, m, q)))
	q.Complete(seq + 2)
	require.True(t, reached(t, m, record(t, m, q)))
}

func TestCompleteOvertakesTimedPieces(t *testing.T) {
	clock := new(VirtualClock)
	m, q := newQueue(t, clock)
	for _, at := range []time.Duration{10, 20, 30} {
		_, err := q.SubmitUntil(at)
		require.NoError(t, err)
	}
	q.Complete(2)
	require.True(t, reached(t, m, Mark{q.Handle(), 2}))
	require.False(t, reached(t, m, Mark{q.Handle(), 3}))
	clock.Set(29)
	require.False(t, reached(t, m, Mark{q.Handle(), 3}))
	clock.Set(30)
	require.True(t, reached(t, m, Mark{q.Handle(), 3}))
}

// nowOnly is a clock that nobody can wait for.
type nowOnly struct{}

func (nowOnly) Now() time.Duration { return 0 }

func TestSubmitUntilNeedsAnAlarm(t *testing.T) {
	for _, clock := range []Clock{nil, nowOnly{}} {
		m, q := newQueue(t, clock)
		_, err := q.SubmitUntil(10)
		require.ErrorIs(t, err, ErrUnsupported)
		require.True(t, reached(t, m, record(t, m, q)), "nothing was submitted")
	}
}

func TestFail(t *testing.T) {
	cause := errors.New("kernel fault")
	m, q := newQueue(t, nil)
	q.Submit()
	done := record(t, m, q)
	q.CompleteAll()
	q.Submit()
	stuck := record(t, m, q)
	called := 0
	m.Notify(stuck, func() { called++ })

	q.Fail(cause)
	q.Fail(errors.New("a later failure"))
	q.CompleteAll()

	require.Equal(t, 1, called)
	require.True(t, reached(t, m, done), "it was reached before the failure")
	ok, err := m.Reached(stuck)
	require.False(t, ok)
	require.ErrorIs(t, err, cause)
	_, err = m.Record(q.Handle())
	require.ErrorIs(t, err, cause)
	m.Notify(stuck, func() { called++ })
	require.Equal(t, 2, called, "a waiter that comes late is freed at once")
}

func TestFailWithoutCause(t *testing.T) {
	m, q := newQueue(t, nil)
	q.Fail(nil)
	_, err := m.Record(q.Handle())
	require.ErrorIs(t, err, ErrDeviceLost)
}

func TestNotifyMayUseTheQueue(t *testing.T) {
	m, q := newQueue(t, nil)
	q.Submit()
	q.Submit()
	var order []int
	m.Notify(Mark{q.Handle(), 2}, func() { order = append(order, 2) })
	m.Notify(Mark{q.Handle(), 1}, func() {
		order = append(order, 1)
		q.Submit()
		m.Notify(Mark{q.Handle(), 3}, func() { order = append(order, 3) })
	})
	q.CompleteAll()
	require.Equal(t, []int{1, 2}, order)
	q.CompleteAll()
	require.Equal(t, []int{1, 2, 3}, order)
}

func TestQueueZeroAndForeignQueues(t *testing.T) {
	m, q := newQueue(t, nil)
	other, foreign := newQueue(t, nil)
	require.NotZero(t, q.Handle())
	require.NotEqual(t, q.Handle(), foreign.Handle())

	called := 0
	mark, err := m.Record(0)
	require.NoError(t, err)
	require.True(t, reached(t, m, mark))
	require.True(t, reached(t, m, Mark{}))
	m.Notify(mark, func() { called++ })
	require.Equal(t, 1, called)

	again, err := m.NewQueue() // its table now has a hole where foreign's handle is
	require.NoError(t, err)
	require.True(t, reached(t, m, record(t, m, again)))
	for _, h := range []Queue{foreign.Handle(), math.MaxUint, again.Handle() + 1} {
		_, err := m.Record(h)
		require.ErrorIs(t, err, ErrUnknownHandle, "queue %d", h)
		_, err = m.Reached(Mark{Queue: h, Seq: 1})
		require.ErrorIs(t, err, ErrUnknownHandle, "queue %d", h)
	}
	_, err = other.Record(q.Handle()) // below other's first
	require.ErrorIs(t, err, ErrUnknownHandle)
	m.Notify(Mark{Queue: foreign.Handle(), Seq: 1}, func() { called++ })
	require.Equal(t, 2, called)
	_, err = new(SoftMarks).Record(q.Handle())
	require.ErrorIs(t, err, ErrUnknownHandle)
}

// TestSoftQueueAgainstModel plays random calls on a queue and on a list of
// pieces that is walked from the start each time.
func TestSoftQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type piece struct {
			timed, done bool
			at          time.Duration
		}
		clock := new(VirtualClock)
		m := NewSoftMarks(clock)
		q, _ := m.NewQueue()
		var pieces []piece
		var calls []int // per Notify
		var waits []uint64
		now := time.Duration(0)

		doneUpTo := func() uint64 {
			n := 0
			for n < len(pieces) && (pieces[n].done || pieces[n].timed && pieces[n].at <= now) {
				pieces[n].done = true
				n++
			}
			return uint64(n)
		}
		t.Repeat(map[string]func(*rapid.T){
			"submit": func(t *rapid.T) {
				pieces = append(pieces, piece{})
				require.EqualValues(t, len(pieces), q.Submit())
			},
			"submitUntil": func(t *rapid.T) {
				at := now + time.Duration(rapid.IntRange(-2, 9).Draw(t, "in"))
				pieces = append(pieces, piece{timed: true, at: at})
				seq, err := q.SubmitUntil(at)
				require.NoError(t, err)
				require.EqualValues(t, len(pieces), seq)
			},
			"complete": func(t *rapid.T) {
				n := rapid.IntRange(0, len(pieces)+1).Draw(t, "upTo")
				for i := range min(n, len(pieces)) {
					pieces[i].done = true
				}
				q.Complete(uint64(n))
			},
			"advance": func(t *rapid.T) {
				d := time.Duration(rapid.IntRange(0, 5).Draw(t, "by"))
				now += d
				clock.Advance(d)
			},
			"notify": func(t *rapid.T) {
				seq := uint64(rapid.IntRange(0, len(pieces)).Draw(t, "seq"))
				i := len(calls)
				calls, waits = append(calls, 0), append(waits, seq)
				m.Notify(Mark{q.Handle(), seq}, func() { calls[i]++ })
			},
			"": func(t *rapid.T) {
				done := doneUpTo()
				for seq := range uint64(len(pieces) + 1) {
					ok, err := m.Reached(Mark{q.Handle(), seq})
					require.NoError(t, err)
					require.Equal(t, seq <= done, ok, "piece %d, done up to %d", seq, done)
				}
				for i, seq := range waits {
					want := 0
					if seq <= done {
						want = 1
					}
					require.Equal(t, want, calls[i], "waiter for piece %d, done up to %d", seq, done)
				}
			},
		})
	})
}

func TestSoftQueueConcurrently(t *testing.T) {
	const workers, pieces = 4, 300
	m, q := newQueue(t, nil)
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range pieces {
				q.Submit()
				mark, err := m.Record(q.Handle())
				if err != nil {
					t.Error(err)
					return
				}
				m.Notify(mark, func() {
					calls.Add(1)
					if ok, err := m.Reached(mark); !ok || err != nil {
						t.Errorf("called for %v, which is not reached: %v", mark, err)
					}
				})
				q.Complete(mark.Seq)
				if ok, err := m.Reached(mark); !ok || err != nil {
					t.Errorf("%v completed but not reached: %v", mark, err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				other, err := m.NewQueue() // grows the table that the others read
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := m.Record(other.Handle()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, workers*pieces, calls.Load())
}

func TestReachedAllocatesNothing(t *testing.T) {
	m, q := newQueue(t, nil)
	q.Submit()
	open := record(t, m, q)
	failing, err := m.NewQueue()
	require.NoError(t, err)
	failing.Submit()
	failed := record(t, m, failing)
	failing.Fail(nil)
	allocs := testing.AllocsPerRun(100, func() {
		_, _ = m.Reached(open)
		_, _ = m.Reached(failed)
		_, _ = m.Record(q.Handle())
	})
	require.Zero(t, allocs)
}

func BenchmarkReached(b *testing.B) {
	m := NewSoftMarks(nil)
	for range 100 {
		_, _ = m.NewQueue()
	}
	q, _ := m.NewQueue()
	q.Submit()
	mark, _ := m.Record(q.Handle())
	q.CompleteAll()
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := m.Reached(mark); !ok {
			b.Fatal("not reached")
		}
	}
}
