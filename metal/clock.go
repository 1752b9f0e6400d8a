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
	// Mostly the latest alarm is the last to go off, so look from the end.
	i := len(c.alarms)
	for i > 0 && c.alarms[i-1].at > t {
		i--
	}
	c.alarms = slices.Insert(c.alarms, i, alarm{t, f})
	c.mu.Unlock()
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
