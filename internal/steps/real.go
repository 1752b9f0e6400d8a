//go:build !simatomics

package steps

import (
	"sync"
	"sync/atomic"
)

// Simulated: built with the tag.
const Simulated = false

type (
	// Bool is sync/atomic's, as are the next three.
	Bool = atomic.Bool
	// Uint32 is explained at Bool.
	Uint32 = atomic.Uint32
	// Int64 is explained at Bool.
	Int64 = atomic.Int64
	// Uint64 is explained at Bool.
	Uint64 = atomic.Uint64
	// Mutex is sync's.
	Mutex = sync.Mutex
)

// Pointer is sync/atomic's.
type Pointer[T any] = atomic.Pointer[T]

// Preempt would have each step call f first; that takes the build tag.
func Preempt(func()) {}
