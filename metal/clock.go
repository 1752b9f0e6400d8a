package metal

import (
	"slices"
	"sync"
	"time"
)

// Clock tells the time since some fixed start. It never runs backwards. Safe
// for concurrent use.
type Clock interface {
	Now() time.Duration
}

// Alarm is a clock that can also be waited for without polling.
type Alarm interface {
	Clock
	// At calls f once, on any goroutine, when Now has reached t; at once if it
	// has already. f must not block.
	At(t time.Duration, f func())
}

// VirtualClock is an [Alarm] that stands still until the program moves it. The
// zero value is ready to use and shows 0. Safe for concurrent use.
//
// Moving the clock runs the alarms on the way, in the order of their times, on
// the goroutine that moves it and outside any lock; while one runs, Now is that
// alarm's time. They have returned when Set or Advance returns, unless another
// goroutine moves the clock too.
type VirtualClock struct {
	mu     sync.Mutex
	now    time.Duration
	goal   time.Duration // where the clock is being moved to; ≥ now
	alarms []alarm       // in the order they go off
}

type alarm struct {
	at time.Duration
	f  func()
	id *int // AfterFunc's; nil: it can't be stopped
}

// Now implements [Clock].
func (c *VirtualClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Set moves the clock to t; to a time that has passed: no effect.
func (c *VirtualClock) Set(t time.Duration) {
	c.mu.Lock()
	c.goal = max(c.goal, t)
	c.mu.Unlock()
	c.run()
}

// Advance moves the clock by d; a negative d has no effect.
func (c *VirtualClock) Advance(d time.Duration) {
	c.mu.Lock()
	c.goal = max(c.goal, c.goal+d)
	c.mu.Unlock()
	c.run()
}

// At implements [Alarm]. Alarms of one time go off in the order they were set.
func (c *VirtualClock) At(t time.Duration, f func()) {
	c.mu.Lock()
	if t <= c.now {
		c.mu.Unlock()
		f()
		return
	}
	c.insert(alarm{at: t, f: f})
	c.mu.Unlock()
}

// AfterFunc calls f like At when d has passed, or at once if d ≤ 0. stop reports
// whether it came in time: then f will not be called. Stopping again gives false.
func (c *VirtualClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	if d <= 0 {
		f()
		return func() bool { return false }
	}
	id := new(int)
	c.mu.Lock()
	c.insert(alarm{c.now + d, f, id})
	c.mu.Unlock()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		n := len(c.alarms)
		c.alarms = slices.DeleteFunc(c.alarms, func(a alarm) bool { return a.id == id })
		return len(c.alarms) < n
	}
}

func (c *VirtualClock) insert(a alarm) {
	// Mostly the latest alarm is the last to go off, so look from the end.
	i := len(c.alarms)
	for i > 0 && c.alarms[i-1].at > a.at {
		i--
	}
	c.alarms = slices.Insert(c.alarms, i, a)
}

func (c *VirtualClock) run() {
	for {
		c.mu.Lock()
		if len(c.alarms) == 0 || c.alarms[0].at > c.goal {
			c.now = c.goal
			c.mu.Unlock()
			return
		}
		next := c.alarms[0]
		c.alarms[0].f = nil // let go of what it holds
		c.alarms = c.alarms[1:]
		c.now = max(c.now, next.at)
		c.mu.Unlock()
		next.f()
	}
}
