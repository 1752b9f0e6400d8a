package streams

import (
	"testing"

	"pgregory.net/rapid"
)

// Small sizes have a class each; above, a class is at most 1/32 wide, and classes
// rise with size.
func TestClasses(t *testing.T) {
	for u := int64(1); u < 1<<13; u++ {
		checkClass(t, u)
	}
	rapid.Check(t, func(rt *rapid.T) {
		near := int64(1) << rapid.IntRange(13, 41).Draw(rt, "power of two")
		checkClass(rt, min(near+rapid.Int64Range(-near/2, near).Draw(rt, "more"), MaxBlock/Unit))
	})
}

func checkClass(t rapid.TB, units int64) {
	c := classOf(units * Unit)
	if c < 0 || c >= numClasses || units < 64 && int64(c) != units {
		t.Fatalf("%d units are of class %d", units, c)
	}
	if before := classOf((units - 1) * Unit); c < before || c > before+1 {
		t.Fatalf("%d units are of class %d, one less of %d", units, c, before)
	}
	if wider := classOf((units + units/32 + 1) * Unit); c == wider && c < numClasses-1 {
		t.Fatalf("%d units and 1/32 more are both of class %d", units, c)
	}
}
