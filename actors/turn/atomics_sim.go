//go:build simatomics

package turn

import "sync/atomic"

const simAtomics = true

// preempt, if set, is called before each operation on the atomics below.
var preempt atomic.Pointer[func()]

func maybePreempt() {
	if f := preempt.Load(); f != nil {
		(*f)()
	}
}

type atomicWord struct{ v atomic.Uint32 }

func (a *atomicWord) Load() uint32           { maybePreempt(); return a.v.Load() }
func (a *atomicWord) Store(v uint32)         { maybePreempt(); a.v.Store(v) }
func (a *atomicWord) And(mask uint32) uint32 { maybePreempt(); return a.v.And(mask) }
func (a *atomicWord) Or(mask uint32) uint32  { maybePreempt(); return a.v.Or(mask) }
func (a *atomicWord) CompareAndSwap(old, to uint32) bool {
	maybePreempt()
	return a.v.CompareAndSwap(old, to)
}

type atomicTop struct{ v atomic.Pointer[Node] }

func (a *atomicTop) Load() *Node        { maybePreempt(); return a.v.Load() }
func (a *atomicTop) Swap(n *Node) *Node { maybePreempt(); return a.v.Swap(n) }
func (a *atomicTop) CompareAndSwap(old, to *Node) bool {
	maybePreempt()
	return a.v.CompareAndSwap(old, to)
}
