package turn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// All words and all that can be published: the invariants of the package
// comment, as far as they are about a single transition.
func TestPostedForEveryWord(t *testing.T) {
	for w := range stopped << 1 {
		for _, bits := range []uint32{userPending, sysPending, sysPending | stopped, errand} {
			next, start := posted(w, bits)
			require.Equal(t, w|bits, next&^running|w&running, "nothing but running is added: %07b", w)
			require.NotZero(t, next&running|b2u(!runnable(next)), "runnable work has a holder: %07b", next)
			require.Equal(t, next&^w&running != 0, start, "who takes the turn starts the loop: %07b", w)
		}
	}
}

// Leave serves errands on the caller's goroutine: that must be all there is to do.
func TestOnlyAnIdleActorIsEnteredToLeave(t *testing.T) {
	for w := range stopped { // a stopped actor's Leave is refused
		if w&running == 0 && runnable(w) {
			continue // there is no such word: invariant 3
		}
		next, start := posted(w, errand)
		require.Equal(t, w == 0, start, "%07b", w)
		require.Equal(t, w == 0, start && errandsDue(next), "%07b", w)
	}
}

func TestErrandsDue(t *testing.T) {
	for w, want := range map[uint32]bool{
		0:                                 false,
		userPending:                       false,
		errand:                            true,
		errand | userPending:              true,
		errand | sysPending:               false,
		errand | suspended:                false,
		errand | unborn:                   false,
		errand | stopped:                  true,
		errand | stopped | sysPending:     false,
		errand | stopped | suspended:      true,
		errand | stopped | unborn:         true,
		suspended | stopped | userPending: false,
	} {
		require.Equal(t, want, errandsDue(w), "%07b", w)
		require.Equal(t, want, errandsDue(w|running), "%07b", w)
	}
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func TestRunnable(t *testing.T) {
	for w, want := range map[uint32]bool{
		0:                                 false,
		userPending:                       true,
		sysPending:                        true,
		suspended:                         false,
		stopped:                           false,
		errand:                            true,
		errand | suspended:                false,
		errand | unborn:                   false,
		errand | suspended | stopped:      true,
		userPending | suspended:           false,
		userPending | unborn:              false,
		userPending | stopped:             true,
		userPending | suspended | stopped: true,
		userPending | unborn | stopped:    true,
		sysPending | suspended | unborn:   true,
	} {
		require.Equal(t, want, runnable(w), "%07b", w)
		require.Equal(t, want, runnable(w|running), "%07b", w)
	}
}
