package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/streams"
)

func TestHolders(t *testing.T) {
	l := New()
	require.Empty(t, l.Holders())
	var rows []*Row
	for i, n := range []int64{3, 1, 0, 5, 2, 4} {
		rows = append(rows, openRow(l, uint64(i), "s"))
		settle(l, rows[i], streams.Figures{Active: n, Slack: n}, Change{Mallocs: 1})
	}
	l.Close(rows[5])
	require.Equal(t, []Holder{{3, u(10)}, {5, u(8)}, {0, u(6)}, {4, u(4)}, {1, u(2)}}, l.Holders(), "closed ones too")
}

// What is promised, on its way to a stream and on its way back is told apart, for
// all and for one.
func TestBudget(t *testing.T) {
	l := limited(u(100), u(100), noLimit)
	a, b := openRow(l, 1, "a"), openRow(l, 2, "b")
	l.SetMemoryLimitOf(a, u(40))
	l.Arrived(a, 0, u(20), 0)
	settle(l, a, streams.Figures{Requested: 10, Active: 10, Cache: 7, Slack: 3}, Change{Mallocs: 1, FromPool: u(20)})
	settle(l, a, streams.Figures{Requested: 10, Active: 10, Cache: 2, Slack: 3}, Change{FromPool: -u(5)})
	l.Arrived(b, 0, u(4), u(4))
	require.True(t, l.Grow(a, u(6), false, true, true).OK)
	require.True(t, l.Grow(b, u(9), false, true, true).OK)
	l.Arrived(a, 0, u(1), u(1))
	require.Equal(t, Budget{
		Limit: u(100), Reserved: u(25), Active: u(10), Cache: u(12), Slack: u(3),
		Promised: u(15), Coming: u(5), Leaving: u(5),
	}, l.Budget(a, false))
	require.Equal(t, Budget{
		Limit: u(40), Reserved: u(16), Active: u(10), Cache: u(3), Slack: u(3), Promised: u(6), Coming: u(1),
	}, l.Budget(a, true))
}
