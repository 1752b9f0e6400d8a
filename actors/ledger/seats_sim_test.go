//go:build simatomics

package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/steps"
)

// A reader that is not scheduled for a while finds that the list of those with
// credit has been replaced by a longer one, and has become shorter again.
func TestReaderOfAnOldList(t *testing.T) {
	for pause := range 12 { // before which step of the reader's
		l := New()
		var rows []*testStream
		for i := range 3 {
			rows = append(rows, open(l, uint64(i), 100*unit))
			rows[i].malloc(80 * unit)
			rows[i].free(80 * unit)
		}
		handOut := func(n int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.gather()
			l.clearCrew()
			for _, r := range rows[:n] {
				l.join(&r.Row)
			}
			l.handOut(units(l.low - l.granted))
		}
		handOut(1)
		step := 0
		steps.Preempt(func() {
			if step++; step == pause+1 {
				handOut(3)
				handOut(2)
			}
		})
		active := l.Active()
		steps.Preempt(nil)
		require.Zero(t, active)
	}
}
