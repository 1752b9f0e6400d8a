package idle

import "time"

// Clears finds out whether a program clears its cache in a tight loop, and tells so
// once. The zero Clears is ready to use.
type Clears struct {
	calls    int   // that were followed by taking memory again, within a second
	first    int64 // when the first of them was, nanoseconds
	released int64 // bytes that they gave back
	pending  int64 // bytes that the last one gave back; memory has not grown since
	at       int64 // when that was
	told     bool
}

const (
	tight  = 10
	window = int64(time.Second)
)

// Cleared tells that the program had bytes given back.
func (c *Clears) Cleared(now, bytes int64) {
	if bytes > 0 && !c.told {
		c.pending, c.at = bytes, now
	}
}

// Hint is what to tell the program.
type Hint struct {
	Calls    int
	Within   time.Duration
	Released int64 // bytes
}

// Grew tells that memory was taken from the device. first: a loop may begin here; a
// hint comes back when it has gone on for long enough, once.
func (c *Clears) Grew(now int64) (h Hint, first, ok bool) {
	if c.pending == 0 {
		return Hint{}, false, false
	}
	if c.calls == 0 || now-c.first > window {
		c.calls, c.first, c.released = 0, c.at, 0
		first = true
	}
	c.calls++
	c.released += c.pending
	c.pending = 0
	if c.calls < tight {
		return Hint{}, first, false
	}
	c.told = true
	return Hint{c.calls, time.Duration(now - c.first), c.released}, false, true
}
