package actors

import (
	"sync/atomic"
	"time"

	"github.com/metalloc/metalloc/metal"
)

// Clock is the time that a runtime lives by; [metal.VirtualClock] is one. Safe for
// concurrent use.
type Clock interface {
	metal.Clock
	// AfterFunc calls f once, on any goroutine, when d has passed; f may wait for the
	// device. stop reports whether it came in time: then f will not be called.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// realClock counts from when it was made.
type realClock struct{ start time.Time }

func (c realClock) Now() time.Duration { return time.Since(c.start) }

func (c realClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}

// stepClock is a nanosecond later each time it is asked: under a scheduler of tests
// there must be order, but no real time.
type stepClock struct{ now atomic.Int64 }

func (c *stepClock) Now() time.Duration { return time.Duration(c.now.Add(1)) }

// AfterFunc: that time never comes.
func (c *stepClock) AfterFunc(time.Duration, func()) (stop func() bool) {
	return func() bool { return true }
}
