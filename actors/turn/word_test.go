package turn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// All words and all that can be published: the invariants of the package
// comment, as far as they are about a single transition.
func TestPostedForEveryWord(t *testing.T) {
	for w := range stopped << 1 {
		for _, bits := range []uint32{userPending, sysPending, sysPending | stopped} {
			next, start := posted(w, bits)
			require.Equal(t, w|bits, next&^running|w&running, "nothing but running is added: %06b", w)
			require.NotZero(t, next&running|b2u(!runnable(next)), "runnable work has a holder: %06b", next)
			require.Equal(t, next&^w&running != 0, start, "who takes the turn starts the loop: %06b", w)
		}
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
		userPending | suspended:           false,
		userPending | unborn:              false,
		userPending | stopped:             true,
		userPending | suspended | stopped: true,
		userPending | unborn | stopped:    true,
		sysPending | suspended | unborn:   true,
	} {
		require.Equal(t, want, runnable(w), "%06b", w)
		require.Equal(t, want, runnable(w|running), "%06b", w)
	}
}
