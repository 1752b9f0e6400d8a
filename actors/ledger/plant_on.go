//go:build simatomics

package ledger

// plant is the fault that a test has asked for.
var plant fault

func planted(f fault) bool { return plant == f }

// tryCreditFirst is tryLeave in the wrong order.
func (r *Row) tryCreditFirst(u, packed uint64) bool {
	for {
		x := r.word.Load()
		if x&frozenBit != 0 || creditMask-credit(x) < u {
			return false
		}
		if r.word.CompareAndSwap(x, x+u+version()) {
			r.left.Add(packed)
			return true
		}
	}
}
