//go:build simatomics

package ledger

import (
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/metalloc/metalloc/internal/steps"
)

// One goroutine is not scheduled for long, in the midst of an operation, while
// another one does a lot: the schedules that drawing each switch hardly ever makes.
func TestLinearizableWhenOneIsSlow(t *testing.T) {
	for i := range *histories {
		seed := *firstSeed + uint64(i)
		check(t, seed, slow(seed))
	}
}

// slow plays one history. The burst happens inside the slow one's steps, on the
// same goroutine.
func slow(seed uint64) []porcupine.Operation {
	events := int64(0)
	w := newPlayers(func() int64 { events++; return events })
	sleeper := &player{w: w, id: 0, rng: rand.New(rand.NewPCG(seed, 0)), avoid: -1}
	busy := &player{w: w, id: 1, rng: rand.New(rand.NewPCG(seed, 1)), avoid: -1}
	busy.warm()
	for range 4 {
		row := sleeper.rng.IntN(testRows)
		busy.avoid = row // its turn may be taken
		left, within := sleeper.rng.IntN(30), false
		steps.Preempt(func() {
			if left--; left >= 0 || within {
				return
			}
			within = true
			if w.l.mu.TryLock() { // else at a later step
				w.l.mu.Unlock()
				steps.Preempt(nil)
				busy.play(4+busy.rng.IntN(12), false)
			}
			within = false
		})
		switch k := sleeper.rng.IntN(8); k {
		case 0:
			sleeper.malloc(row, 1)
		case 1, 2:
			sleeper.free(row, k == 1)
		default:
			sleeper.asks(row)
		}
		steps.Preempt(nil)
	}
	return append(sleeper.log, busy.log...)
}
