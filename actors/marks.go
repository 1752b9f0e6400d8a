package actors

import (
	"errors"
	"runtime/debug"

	"github.com/metalloc/metalloc/actors/turn"
	"github.com/metalloc/metalloc/metal"
)

// marks is the device's Marker. It is called in turns and on callers'
// goroutines, amid changes that a panic must not cut short, so here a panic is
// an error.
type marks struct{ dev metal.Marker }

func newMarks(dev metal.Device) *marks {
	if m, ok := dev.(metal.Marker); ok {
		return &marks{m}
	}
	return nil
}

func (m *marks) record(q metal.Queue) (mark metal.Mark, err error) {
	defer catch(&err)
	return m.dev.Record(q)
}

func (m *marks) reached(mark metal.Mark) (ok bool, err error) {
	defer catch(&err)
	return m.dev.Reached(mark)
}

// notify: after an error f may never be called.
func (m *marks) notify(mark metal.Mark, f func()) (err error) {
	defer catch(&err)
	m.dev.Notify(mark, f)
	return nil
}

func catch(err *error) {
	if v := recover(); v != nil {
		*err = &turn.PanicError{Value: v, Stack: debug.Stack()}
	}
}

// unknown tells errors that say nothing about where the queue is from those of a
// queue that has failed: one that is being captured can't be marked now, and a
// panic may mean anything.
func unknown(err error) bool {
	var p *turn.PanicError
	return errors.Is(err, ErrBusy) || errors.As(err, &p)
}
