//go:build simatomics

package turn

const simSeeds = 3000

// preemptWith makes every operation on the protocol's atomics call f first.
func preemptWith(f func()) {
	if f == nil {
		preempt.Store(nil)
		return
	}
	preempt.Store(&f)
}
