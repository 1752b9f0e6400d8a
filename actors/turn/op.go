package turn

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Op is an operation that can be posted: a pointer to a struct that embeds Node.
//
// Once posted it ends exactly once: Run has returned, or Fail has been called.
// The mailbox doesn't touch an op after it has called Run or Fail, so either may
// hand it to another goroutine that posts it again. Until the op has ended it
// must not be posted a second time.
type Op interface {
	// Header is the embedded Node's.
	Header() *Node
	// Run does the work, in the turn. If it tells a waiter, that has to be the
	// last thing that it does: after a panic Fail is called.
	Run()
	// Fail is called, in the turn, in place of Run with ErrStopped when the actor
	// is stopped, or with a *PanicError after Run has panicked.
	Fail(err error)
}

var (
	// ErrStopped: the actor was told to stop.
	ErrStopped = errors.New("turn: actor is stopped")
	// ErrGoexit is the Value of a PanicError whose handler called runtime.Goexit.
	ErrGoexit = errors.New("turn: handler called runtime.Goexit")
)

// PanicError means that the handler didn't return. What it has done stays done; the
// actor's supervisor decides what becomes of the actor.
type PanicError struct {
	Value any    // what was recovered, or ErrGoexit
	Stack []byte // of the goroutine that ran the handler
}

func newPanicError(v any) *PanicError {
	return &PanicError{Value: cause(v), Stack: debug.Stack()}
}

// cause names what recover returned; in a deferred call that a panic didn't
// start, nil means Goexit.
func cause(v any) any {
	if v == nil {
		return ErrGoexit
	}
	return v
}

func (e *PanicError) Error() string { return fmt.Sprintf("turn: handler panicked: %v", e.Value) }

// Unwrap returns Value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
