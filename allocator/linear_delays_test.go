//go:build simatomics

package allocator_test

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/metalloc/metalloc/internal/steps"
)

// Histories of goroutines that run freely, each step delayed at random.
func TestLinearizableWithDelays(t *testing.T) {
	steps.Preempt(func() {
		if rand.IntN(4) == 0 {
			runtime.Gosched()
		}
	})
	defer steps.Preempt(nil)
	for name, refuse := range policies {
		t.Run(name, func(t *testing.T) { freely(t, refuse, *histories/2) })
	}
}
