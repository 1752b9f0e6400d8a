//go:build !simatomics

package turn

import "sync/atomic"

// simAtomics: built with the tag.
const simAtomics = false

// The atomics of the protocol between posters and the turn's holder. With the
// build tag simatomics each of their operations is also a place where a
// simulated run may switch goroutines; here they are what they are.
type (
	atomicWord = atomic.Uint32
	atomicTop  = atomic.Pointer[Node]
)
