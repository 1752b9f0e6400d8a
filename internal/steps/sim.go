//go:build simatomics

package steps

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Simulated: built with the tag.
const Simulated = true

var preempt atomic.Pointer[func()]

// Preempt has each step call f first; nil: nothing.
func Preempt(f func()) {
	if f == nil {
		preempt.Store(nil)
		return
	}
	preempt.Store(&f)
}

func step() {
	if f := preempt.Load(); f != nil {
		(*f)()
	}
}

// Bool is an atomic.Bool.
type Bool struct{ v atomic.Bool }

func (a *Bool) Load() bool   { step(); return a.v.Load() }
func (a *Bool) Store(v bool) { step(); a.v.Store(v) }

// Uint32 is an atomic.Uint32.
type Uint32 struct{ v atomic.Uint32 }

func (a *Uint32) Load() uint32                       { step(); return a.v.Load() }
func (a *Uint32) Store(v uint32)                     { step(); a.v.Store(v) }
func (a *Uint32) And(mask uint32) uint32             { step(); return a.v.And(mask) }
func (a *Uint32) Or(mask uint32) uint32              { step(); return a.v.Or(mask) }
func (a *Uint32) CompareAndSwap(old, to uint32) bool { step(); return a.v.CompareAndSwap(old, to) }

// Int64 is an atomic.Int64.
type Int64 struct{ v atomic.Int64 }

func (a *Int64) Load() int64       { step(); return a.v.Load() }
func (a *Int64) Store(v int64)     { step(); a.v.Store(v) }
func (a *Int64) Add(n int64) int64 { step(); return a.v.Add(n) }

// Uint64 is an atomic.Uint64.
type Uint64 struct{ v atomic.Uint64 }

func (a *Uint64) Load() uint64                       { step(); return a.v.Load() }
func (a *Uint64) Store(v uint64)                     { step(); a.v.Store(v) }
func (a *Uint64) Add(n uint64) uint64                { step(); return a.v.Add(n) }
func (a *Uint64) Or(mask uint64) uint64              { step(); return a.v.Or(mask) }
func (a *Uint64) And(mask uint64) uint64             { step(); return a.v.And(mask) }
func (a *Uint64) CompareAndSwap(old, to uint64) bool { step(); return a.v.CompareAndSwap(old, to) }

// Pointer is an atomic.Pointer.
type Pointer[T any] struct{ v atomic.Pointer[T] }

func (a *Pointer[T]) Load() *T                       { step(); return a.v.Load() }
func (a *Pointer[T]) Store(p *T)                     { step(); a.v.Store(p) }
func (a *Pointer[T]) Swap(p *T) *T                   { step(); return a.v.Swap(p) }
func (a *Pointer[T]) CompareAndSwap(old, to *T) bool { step(); return a.v.CompareAndSwap(old, to) }

// Mutex is a sync.Mutex that a simulated schedule can be switched away from: who
// waits for it takes steps.
type Mutex struct{ mu sync.Mutex }

func (m *Mutex) Lock() {
	for step(); !m.mu.TryLock(); step() {
		if preempt.Load() == nil {
			runtime.Gosched()
		}
	}
}

func (m *Mutex) TryLock() bool { step(); return m.mu.TryLock() }
func (m *Mutex) Unlock()       { m.mu.Unlock() }
