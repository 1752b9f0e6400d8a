// Package seam is the one place where the runtime waits, spins, hands work to
// another goroutine or pins a thread. Production uses [Real]; a test scheduler
// implements [Seam] with one goroutine running at a time and every choice drawn
// from a seed, and so replays a whole run.
//
// Short mutexes whose critical sections contain no call to this package need no
// seam: under a scheduler that runs one goroutine at a time they are never
// contended.
package seam

import (
	"context"
	"runtime"
)

// Seam makes the runtime's scheduling choices.
type Seam interface {
	// Go runs f on another goroutine.
	Go(f func())
	// NewGate returns a gate that is shut.
	NewGate() Gate
	// Spin is step i (from 0) of a busy wait. False: stop spinning, do something else.
	Spin(i int) bool
	// Yield lets other goroutines run.
	Yield()
	// LockThread pins the calling goroutine to its OS thread until UnlockThread.
	LockThread()
	UnlockThread()
}

// Gate carries one wake-up at a time from one goroutine to another. An Open
// before the Wait is kept. Opening an open gate changes nothing.
type Gate interface {
	// Open never blocks.
	Open()
	// Wait returns when the gate has been opened, and shuts it again.
	Wait()
	// WaitContext is Wait, but returns ctx.Err() when ctx ends first; the gate
	// then keeps an Open that comes later.
	WaitContext(ctx context.Context) error
}

// A busy wait looks at what it waits for ever more seldom, since each look takes the
// cache line from whoever is at work. In all it lasts some 15 µs, less than it takes
// to park a goroutine and wake it on a busy machine. Tried on 2 and 16 cores with
// 2 to 16 goroutines on one actor: without pauses 2 goroutines got through half as
// much, 16 a fifth.
const (
	spinSteps   = 16
	spinFirst   = 128 // turns of an empty loop
	spinLongest = 4096
)

// Real is the scheduler of production: goroutines, channels, the Go runtime.
var Real Seam = realSeam{}

type realSeam struct{}

func (realSeam) Go(f func())   { go f() }
func (realSeam) NewGate() Gate { return realGate{make(chan struct{}, 1)} }

func (realSeam) Spin(i int) bool {
	if i >= spinSteps {
		return false
	}
	pause(min(spinFirst<<i, spinLongest))
	return true
}

func (realSeam) Yield()        { runtime.Gosched() }
func (realSeam) LockThread()   { runtime.LockOSThread() }
func (realSeam) UnlockThread() { runtime.UnlockOSThread() }

type realGate struct{ c chan struct{} }

func (g realGate) Open() {
	select {
	case g.c <- struct{}{}:
	default:
	}
}

func (g realGate) Wait() { <-g.c }

func (g realGate) WaitContext(ctx context.Context) error {
	select { // an opened gate wins over an ended ctx
	case <-g.c:
		return nil
	default:
	}
	select {
	case <-g.c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause keeps the processor busy without touching memory.
//
//go:noinline
func pause(n int) {
	for range n {
	}
}
