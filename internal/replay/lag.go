package replay

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// lag has work on the streams' queues last for a while after each free. Of the
// zero value work is done at once.
type lag struct {
	length time.Duration
	clock  fileClock
	began  time.Duration      // what the clock showed at the first event
	times  []time.Duration    // by event, counted from the first
	queues []*metal.SoftQueue // by stream of the history
}

// fileClock shows the file's time.
type fileClock interface {
	allocator.Clock
	Set(t time.Duration)
}

// plainClock is all that it takes where no queue waits for a time.
type plainClock struct{ now atomic.Int64 }

func (c *plainClock) Now() time.Duration { return time.Duration(c.now.Load()) }

// Set never turns it back, whoever comes late.
func (c *plainClock) Set(t time.Duration) {
	for now := c.now.Load(); int64(t) > now && !c.now.CompareAndSwap(now, int64(t)); {
		now = c.now.Load()
	}
}

// AfterFunc: nobody waits for that.
func (c *plainClock) AfterFunc(time.Duration, func()) (stop func() bool) {
	return func() bool { return true }
}

// maxTime keeps sums of two times from overflowing; 146 years.
const maxTime = math.MaxInt64 / 2

// untimed is how far apart events are of which no time is known: about as far as in
// recordings of PyTorch that tell.
const untimed = 100 * time.Microsecond

// timesOf gives the time of each event, counted from the first. It never runs
// backwards, as the clock doesn't: where the file's does, it stands still.
func timesOf(h *torch.History) []time.Duration {
	times := make([]time.Duration, len(h.Events))
	var now time.Duration
	timed := hasTimes(h)
	for i, e := range h.Events {
		if !timed {
			now = time.Duration(i) * untimed
		} else if first := h.Events[0].TimeUS; e.TimeUS > first {
			since := uint64(e.TimeUS) - uint64(first) // their difference may overflow an int64
			now = max(now, time.Duration(min(since, maxTime/1000)*1000))
		}
		times[i] = now
	}
	return times
}

// hasTimes tells whether any event of a history has one.
func hasTimes(h *torch.History) bool {
	return slices.ContainsFunc(h.Events, func(e torch.Event) bool { return e.TimeUS != 0 })
}

// moveTo sets the clock to the time of an event, unless it is later already.
func (l *lag) moveTo(event int32) {
	l.clock.Set(l.began + l.times[event])
}

// over is when the work is done that was queued before a free. A lag of more
// than maxTime is cut.
func (l *lag) over(freed int32) time.Duration {
	return l.began + l.times[freed] + min(l.length, maxTime)
}

// submit queues the work that a block freed at an event has behind it on its own
// stream.
func (l *lag) submit(stream, freed int32) error {
	if l.length == 0 {
		return nil
	}
	_, err := l.queues[stream].SubmitUntil(l.over(freed))
	return err
}

// submitSide queues the work that still uses a block when it is freed. Unless
// there is a lag it is for the caller to say when that is done.
func (l *lag) submitSide(q *metal.SoftQueue, freed, completed int32, ever bool) error {
	if l.length == 0 || !ever {
		q.Submit()
		return nil
	}
	_, err := q.SubmitUntil(max(l.began+l.times[completed], l.over(freed)))
	return err
}
