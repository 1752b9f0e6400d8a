package actors

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/streams"
)

// addsUp checks the ledger's promise, and that nothing is promised or on its
// way any more when idle is set.
func addsUp(t *testing.T, l *ledger, idle bool) {
	t.Helper()
	total, rows, _ := l.snapshot()
	require.Equal(t, total.Active+total.Cache+total.Slack, total.Reserved)
	var sum streams.Figures
	for _, r := range rows {
		sum.Requested += r.Requested
		sum.Active += r.Active
		sum.Cache += r.Cache
		sum.Pending += r.Pending
		sum.Slack += r.Slack
	}
	require.Equal(t, streams.Figures{
		Requested: total.Requested, Active: total.Active, Cache: total.Cache, Pending: total.Pending, Slack: total.Slack,
	}, sum)
	if idle {
		require.Zero(t, l.growing)
		require.Zero(t, l.transit)
	}
}

// openRow adds a stream's row without limits of its own.
func openRow(l *ledger, id uint64, name string) *row {
	r := &row{id: id, name: name, memoryLimit: NoLimit, cacheLimit: NoLimit}
	l.open(r)
	return r
}

func TestGrow(t *testing.T) {
	for name, c := range map[string]struct {
		reserved, cached, growing, n int64
		limit, threshold             int64
		policy                       Policy
		asked                        bool
		ok                           bool
		reclaim, over                int64
	}{
		"room":                             {n: 10, limit: 10, threshold: 10, policy: Refuse, ok: true},
		"one too many":                     {n: 11, limit: 10, threshold: 10, policy: Refuse, over: 1},
		"guide goes on":                    {n: 11, limit: 10, threshold: 10, policy: Guide, ok: true},
		"over the threshold without cache": {reserved: 8, n: 2, limit: 10, threshold: 5, policy: Refuse, ok: true},
		"over the threshold with cache":    {reserved: 8, cached: 1, n: 2, limit: 10, threshold: 5, policy: Guide, reclaim: 5},
		"asked already":                    {reserved: 8, cached: 1, n: 2, limit: 10, threshold: 5, policy: Refuse, asked: true, ok: true},
		"asked and over":                   {reserved: 8, cached: 1, n: 3, limit: 10, threshold: 5, policy: Refuse, asked: true, over: 1},
		"promises count":                   {reserved: 4, growing: 4, n: 3, limit: 10, threshold: 10, policy: Refuse, over: 1},
		"promises count for reclaim":       {reserved: 4, cached: 4, growing: 4, n: 3, limit: 10, threshold: 10, policy: Refuse, reclaim: 1},
		"nothing at limit 0":               {n: 0, limit: 0, threshold: 0, policy: Refuse, ok: true},
		"no limit":                         {n: 1 << 50, limit: NoLimit, threshold: NoLimit, policy: Refuse, ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			var l ledger
			l.setMemoryLimit(c.limit, c.threshold)
			l.cacheLimit = NoLimit
			r := openRow(&l, 1, "s")
			l.settle(r, streams.Figures{Requested: c.reserved - c.cached, Active: c.reserved - c.cached, Cache: c.cached}, change{mallocs: 1})
			l.growing = c.growing
			v := l.grow(r, c.n, c.policy, c.asked, c.asked)
			require.Equal(t, []any{c.ok, c.reclaim, c.over}, []any{v.ok, v.reclaim, v.over})
			if v.ok {
				require.Equal(t, c.growing+c.n, l.growing)
			} else {
				require.Equal(t, c.growing, l.growing, "nothing is promised")
			}
		})
	}
}

// A stream's own limits count beside the runtime's.
func TestGrowOfALimitedStream(t *testing.T) {
	var l ledger
	l.setMemoryLimit(100, 90)
	l.setCacheLimit(NoLimit)
	a := &row{id: 1, memoryLimit: 20, cacheLimit: 5}
	l.open(a)
	b := openRow(&l, 2, "b")
	require.Equal(t, verdict{over: 1, whose: "stream's memory"}, l.grow(a, 21, Refuse, true, true))
	require.True(t, l.grow(a, 15, Refuse, false, false).ok)
	require.Equal(t, verdict{over: 5, whose: "stream's memory"}, l.grow(a, 10, Refuse, true, true), "promises count")
	require.True(t, l.grow(b, 60, Refuse, false, false).ok)
	require.Equal(t, verdict{over: 1, whose: "memory"}, l.grow(b, 26, Refuse, true, true))
	require.True(t, l.grow(a, 10, Guide, true, true).ok)
	l.arrived(a, 15, 15, 15)
	require.Equal(t, verdict{over: 6, whose: "stream's memory"}, l.grow(a, 1, Refuse, true, true), "what is on its way counts")
	require.EqualValues(t, 3, l.settle(a, streams.Figures{Active: 7, Cache: 8}, change{mallocs: 1, fromPool: 15, coming: -15}))
	require.Zero(t, a.coming)
	require.EqualValues(t, 3, l.cacheExcess(a))
	require.Zero(t, l.cacheExcess(b))
	previous, over := l.setStreamLimit(a, 6, true)
	require.Equal(t, []int64{5, 2}, []int64{previous, over})
	previous, over = l.setStreamLimit(a, 12, false)
	require.Equal(t, []int64{20, 13}, []int64{previous, over}, "what is promised counts")
}

// A miss from promise to commit, and its pages' way back.
func TestLedgerOfAMiss(t *testing.T) {
	var l ledger
	l.setMemoryLimit(100, 100)
	l.setCacheLimit(0)
	r := openRow(&l, 7, "s")
	require.True(t, l.grow(r, 30, Refuse, false, false).ok)
	addsUp(t, &l, false)
	require.Zero(t, l.read(nil).Reserved, "a promise is not memory")

	l.arrived(r, 30, 30, 0)
	addsUp(t, &l, false)
	require.EqualValues(t, 30, l.read(nil).Reserved)
	require.Zero(t, l.cacheExcess(r), "what is on its way is not to be trimmed")

	excess := l.settle(r, streams.Figures{Requested: 9, Active: 10, Slack: 20}, change{mallocs: 1, misses: 1, fromPool: 30})
	require.Zero(t, excess)
	addsUp(t, &l, true)
	f := l.read(r)
	require.Equal(t, []int64{9, 10, 10, 20, 30, 30, 1, 1, 1},
		[]int64{f.Requested, f.Active, f.Peak, f.Slack, f.Reserved, f.ReservedPeak, f.Buffers, f.Mallocs, f.Misses})

	excess = l.settle(r, streams.Figures{Cache: 30, Pending: 10}, change{frees: 1})
	require.EqualValues(t, 30, excess)
	addsUp(t, &l, true)
	l.settle(r, streams.Figures{}, change{fromPool: -30})
	addsUp(t, &l, false)
	require.EqualValues(t, 30, l.read(nil).Cache)
	require.Zero(t, l.read(r).Reserved)
	l.left(30)
	addsUp(t, &l, true)
	require.Zero(t, l.read(nil).Reserved)
	require.EqualValues(t, 30, l.read(nil).ReservedPeak)
	require.EqualValues(t, 10, l.read(nil).Peak)
}

func TestLedgerOfAFailedMiss(t *testing.T) {
	var l ledger
	l.setMemoryLimit(100, 100)
	r := openRow(&l, 1, "s")
	require.True(t, l.grow(r, 30, Refuse, false, false).ok)
	l.arrived(r, 30, 20, 0) // the device failed at the third page
	l.left(20)
	addsUp(t, &l, true)
	require.True(t, l.grow(r, 100, Refuse, false, false).ok, "the whole limit is there again")
}

func TestLedgerOfAClosedStream(t *testing.T) {
	var l ledger
	l.setMemoryLimit(100, 100)
	l.setCacheLimit(100)
	a, b := openRow(&l, 1, "a"), openRow(&l, 2, "b")
	l.settle(a, streams.Figures{Requested: 5, Active: 10, Cache: 2, Slack: 8}, change{mallocs: 2, frees: 1})
	l.settle(b, streams.Figures{Requested: 7, Active: 7}, change{mallocs: 1})
	before := l.read(a)
	l.close(a)
	l.close(a) // once is enough
	addsUp(t, &l, false)
	_, rows, _ := l.snapshot()
	require.Len(t, rows, 2)
	require.Empty(t, rows[0].Name)
	require.Equal(t, []int64{5, 10, 2, 8, 1, 2, 1}, []int64{
		rows[0].Requested, rows[0].Active, rows[0].Cache, rows[0].Slack, rows[0].Buffers, rows[0].Mallocs, rows[0].Frees,
	})
	l.settle(a, streams.Figures{}, change{frees: 1, fromPool: -20})
	l.left(20)
	addsUp(t, &l, true)
	require.Equal(t, before, l.read(a), "its own figures stay as they were")
	_, rows, _ = l.snapshot()
	require.Zero(t, rows[0].Buffers)
	require.EqualValues(t, 2, rows[0].Frees)
}

func TestLedgerPeaks(t *testing.T) {
	var l ledger
	a, b := openRow(&l, 1, "a"), openRow(&l, 2, "b")
	set := func(r *row, active int64, c change) {
		l.settle(r, streams.Figures{Active: active}, c)
	}
	peaks := func() [3]int64 { return [3]int64{l.read(nil).Peak, l.read(a).Peak, l.read(b).Peak} }
	set(a, 10, change{mallocs: 1})
	set(b, 5, change{mallocs: 1})
	require.Equal(t, [3]int64{15, 10, 5}, peaks())
	set(a, 0, change{frees: 1})
	set(b, 9, change{mallocs: 1})
	require.Equal(t, [3]int64{15, 10, 9}, peaks())
	l.resetPeak(nil)
	require.Equal(t, [3]int64{0, 10, 9}, peaks())
	l.resetPeak(b)
	set(b, 8, change{frees: 1})
	require.Equal(t, [3]int64{0, 10, 0}, peaks(), "0 until the next malloc")
	set(a, 1, change{mallocs: 1})
	require.Equal(t, [3]int64{9, 10, 0}, peaks())
	set(b, 9, change{mallocs: 1})
	require.Equal(t, [3]int64{10, 10, 9}, peaks())
}

func TestHolders(t *testing.T) {
	var l ledger
	require.Empty(t, l.holders())
	for i, n := range []int64{3, 1, 0, 5, 2, 4} {
		l.settle(openRow(&l, uint64(i), string(rune('a'+i))), streams.Figures{Active: n << 20}, change{mallocs: 1})
	}
	require.Equal(t, `"d" active 5.0 MiB + cache 0 B + slack 0 B, "f" active 4.0 MiB + cache 0 B + slack 0 B, `+
		`"a" active 3.0 MiB + cache 0 B + slack 0 B, "e" active 2.0 MiB + cache 0 B + slack 0 B`, l.holders())
}

func TestLedgerCounts64TiB(t *testing.T) {
	var l ledger
	l.setMemoryLimit(NoLimit, NoLimit)
	r := openRow(&l, 1, "s")
	const n = int64(64) << 40
	require.True(t, l.grow(r, n, Refuse, false, false).ok)
	l.arrived(r, n, n, 0)
	l.settle(r, streams.Figures{Active: n}, change{mallocs: 1, fromPool: n})
	require.Equal(t, n, l.read(nil).Active)
	addsUp(t, &l, true)
}
