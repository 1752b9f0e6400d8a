package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/streams"
	"github.com/metalloc/metalloc/telemetry"
)

// openRow adds a stream's row without limits of its own.
func openRow(l *Ledger, id uint64, name string) *Row {
	r := &Row{}
	l.Open(r, Owner{ID: id, Name: name})
	return r
}

// u is so many units in bytes.
func u(n int64) int64 { return n * unit }

// settle is Settle with figures in units.
func settle(l *Ledger, r *Row, f streams.Figures, c Change) int64 {
	f = streams.Figures{Requested: u(f.Requested), Active: u(f.Active), Cache: u(f.Cache), Pending: u(f.Pending), Slack: u(f.Slack)}
	return l.Settle(r, &f, c)
}

func limited(memory, threshold, cache int64) *Ledger {
	l := New()
	l.SetMemoryLimit(memory, threshold)
	l.SetCacheLimit(cache)
	return l
}

func TestGrow(t *testing.T) {
	for name, c := range map[string]struct {
		reserved, cached, growing, n int64
		limit, threshold             int64
		guide                        bool
		asked                        bool
		ok                           bool
		reclaim, over                int64
	}{
		"room":                             {n: 10, limit: 10, threshold: 10, ok: true},
		"one too many":                     {n: 11, limit: 10, threshold: 10, over: 1},
		"guide goes on":                    {n: 11, limit: 10, threshold: 10, guide: true, ok: true},
		"over the threshold without cache": {reserved: 8, n: 2, limit: 10, threshold: 5, ok: true},
		"over the threshold with cache":    {reserved: 8, cached: 1, n: 2, limit: 10, threshold: 5, guide: true, reclaim: 5},
		"asked already":                    {reserved: 8, cached: 1, n: 2, limit: 10, threshold: 5, asked: true, ok: true},
		"asked and over":                   {reserved: 8, cached: 1, n: 3, limit: 10, threshold: 5, asked: true, over: 1},
		"promises count":                   {reserved: 4, growing: 4, n: 3, limit: 10, threshold: 10, over: 1},
		"promises count for reclaim":       {reserved: 4, cached: 4, growing: 4, n: 3, limit: 10, threshold: 10, reclaim: 1},
		"nothing at limit 0":               {n: 0, limit: 0, threshold: 0, ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := limited(u(c.limit), u(c.threshold), noLimit)
			r := openRow(l, 1, "s")
			l.Arrived(r, 0, u(c.reserved), 0)
			active := c.reserved - c.cached
			settle(l, r, streams.Figures{Requested: active, Active: active, Cache: c.cached}, Change{Mallocs: 1, FromPool: u(c.reserved)})
			l.growing = u(c.growing)
			v := l.Grow(r, u(c.n), c.guide, c.asked, c.asked)
			require.Equal(t, []any{c.ok, u(c.reclaim), u(c.over)}, []any{v.OK, v.Reclaim, v.Over})
			if v.OK {
				require.Equal(t, u(c.growing+c.n), l.growing)
			} else {
				require.Equal(t, u(c.growing), l.growing, "nothing is promised")
			}
		})
	}
}

// A stream's own limits count beside the runtime's.
func TestGrowOfALimitedStream(t *testing.T) {
	l := limited(u(100), u(90), noLimit)
	a, b := openRow(l, 1, "a"), openRow(l, 2, "b")
	l.SetMemoryLimitOf(a, u(20))
	l.SetCacheLimitOf(a, u(5))
	require.True(t, a.Limited())
	require.False(t, b.Limited())
	require.Equal(t, Verdict{Own: true, Over: u(1), Whose: "stream's memory"}, l.Grow(a, u(21), false, true, true))
	require.True(t, l.Grow(a, u(15), false, false, false).OK)
	require.Equal(t, Verdict{Own: true, Over: u(5), Whose: "stream's memory"}, l.Grow(a, u(10), false, true, true), "promises count")
	require.True(t, l.Grow(b, u(60), false, false, false).OK)
	require.Equal(t, Verdict{Over: u(1), Whose: "memory"}, l.Grow(b, u(26), false, true, true))
	require.True(t, l.Grow(a, u(10), true, true, true).OK)
	l.Arrived(a, u(15), u(15), u(15))
	require.Equal(t, Verdict{Own: true, Over: u(6), Whose: "stream's memory"}, l.Grow(a, u(1), false, true, true), "what is on its way counts")
	require.Equal(t, u(3), settle(l, a, streams.Figures{Active: 7, Cache: 8}, Change{Mallocs: 1, FromPool: u(15), Coming: u(-15)}))
	require.Zero(t, a.coming)
	require.Equal(t, u(3), l.CacheExcess(a))
	require.Zero(t, l.CacheExcess(b))
	previous, over := l.SetCacheLimitOf(a, u(6))
	require.Equal(t, []int64{u(5), u(2)}, []int64{previous, over})
	previous, over = l.SetMemoryLimitOf(a, u(12))
	require.Equal(t, []int64{u(20), u(13)}, []int64{previous, over}, "what is promised counts")
	memory, cache := l.LimitsOf(a)
	require.Equal(t, []int64{u(12), u(6)}, []int64{memory, cache})
}

// There is room as soon as what has left its stream is back with the device.
func TestGrowWhilePagesLeave(t *testing.T) {
	l := limited(u(10), u(10), noLimit)
	r := openRow(l, 1, "s")
	l.Arrived(r, 0, u(8), 0)
	settle(l, r, streams.Figures{Cache: 8}, Change{FromPool: u(8)})
	settle(l, r, streams.Figures{Cache: 2}, Change{FromPool: u(-6)})
	require.Equal(t, Verdict{Leaving: u(6), Over: u(3), Whose: "memory"}, l.Grow(r, u(5), false, true, true))
	l.Left(u(6))
	require.True(t, l.Grow(r, u(5), false, true, true).OK)
}

// A miss from promise to commit, and its pages' way back.
func TestLedgerOfAMiss(t *testing.T) {
	l := limited(u(100), u(100), 0)
	r := openRow(l, 7, "s")
	require.True(t, l.Grow(r, u(30), false, false, false).OK)
	require.NoError(t, l.Check(false))
	require.Zero(t, l.Totals().Reserved, "a promise is not memory")

	l.Arrived(r, u(30), u(30), 0)
	require.NoError(t, l.Check(false))
	require.Error(t, l.Check(true), "something is on its way")
	require.Equal(t, u(30), l.Totals().Reserved)
	require.Zero(t, l.CacheExcess(r), "what is on its way is not to be trimmed")

	excess := settle(l, r, streams.Figures{Requested: 9, Active: 10, Slack: 20}, Change{Mallocs: 1, Misses: 1, FromPool: u(30)})
	require.LessOrEqual(t, excess, int64(0))
	require.NoError(t, l.Check(true))
	require.Equal(t, telemetry.Figures{
		Requested: u(9), Active: u(10), Peak: u(10), Slack: u(20), Reserved: u(30), ReservedPeak: u(30),
		Buffers: 1, Mallocs: 1, Misses: 1,
	}, l.Figures(r))

	require.Equal(t, u(30), settle(l, r, streams.Figures{Cache: 30, Pending: 10}, Change{Frees: 1}))
	require.NoError(t, l.Check(true))
	settle(l, r, streams.Figures{}, Change{FromPool: u(-30)})
	require.NoError(t, l.Check(false))
	require.Equal(t, u(30), l.Totals().Cache)
	require.Zero(t, l.Figures(r).Reserved)
	l.Left(u(30))
	require.NoError(t, l.Check(true))
	total, _, _ := l.Snapshot()
	require.Equal(t, []int64{0, u(30), u(10)}, []int64{total.Reserved, total.ReservedPeak, total.Peak})
}

func TestLedgerOfAFailedMiss(t *testing.T) {
	l := limited(u(100), u(100), noLimit)
	r := openRow(l, 1, "s")
	require.True(t, l.Grow(r, u(30), false, false, false).OK)
	l.Arrived(r, u(30), u(20), 0) // the device failed at the third page
	l.Left(u(20))
	require.NoError(t, l.Check(true))
	require.True(t, l.Grow(r, u(100), false, false, false).OK, "the whole limit is there again")
}

func TestLedgerOfAClosedStream(t *testing.T) {
	l := limited(u(100), u(100), u(100))
	a, b := openRow(l, 1, "a"), openRow(l, 2, "b")
	l.Arrived(a, 0, u(27), 0)
	settle(l, a, streams.Figures{Requested: 5, Active: 10, Cache: 2, Slack: 8}, Change{Mallocs: 2, Frees: 1, FromPool: u(20)})
	settle(l, b, streams.Figures{Requested: 7, Active: 7}, Change{Mallocs: 1, FromPool: u(7)})
	l.Refused(a)
	l.Trimmed(a)
	before := l.Figures(a)
	l.Close(a)
	l.Close(a) // once is enough
	require.NoError(t, l.Check(false))
	_, rows, _ := l.Snapshot()
	require.Len(t, rows, 2)
	require.Equal(t, telemetry.Figures{
		Requested: u(5), Active: u(10), Cache: u(2), Slack: u(8), Peak: u(10), Reserved: u(20), ReservedPeak: u(27),
		Buffers: 1, Mallocs: 2, Frees: 1, Hits: 2, Refusals: 1, Trims: 1,
	}, rows[0].Figures)
	settle(l, a, streams.Figures{}, Change{Frees: 1, FromPool: u(-20)})
	l.Left(u(20))
	require.NoError(t, l.Check(true))
	require.Equal(t, before, l.Figures(a), "its own figures stay as they were")
	l.Forget(a)
	_, rows, _ = l.Snapshot()
	require.Equal(t, telemetry.Figures{
		Peak: u(10), ReservedPeak: u(27), Mallocs: 2, Frees: 2, Hits: 2, Refusals: 1, Trims: 1,
	}, rows[0].Figures)
}

func TestLedgerPeaks(t *testing.T) {
	l := New()
	a, b := openRow(l, 1, "a"), openRow(l, 2, "b")
	set := func(r *Row, active int64, c Change) { settle(l, r, streams.Figures{Active: active}, c) }
	peaks := func() [3]int64 {
		return [3]int64{l.Totals().Peak / unit, l.Figures(a).Peak / unit, l.TotalsOf(b).Peak / unit}
	}
	set(a, 10, Change{Mallocs: 1})
	set(b, 5, Change{Mallocs: 1})
	require.Equal(t, [3]int64{15, 10, 5}, peaks())
	set(a, 0, Change{Frees: 1})
	set(b, 9, Change{Mallocs: 1})
	require.Equal(t, [3]int64{15, 10, 9}, peaks())
	l.ResetPeak()
	require.Equal(t, [3]int64{0, 10, 9}, peaks())
	l.ResetPeakOf(b)
	set(b, 8, Change{Frees: 1})
	require.Equal(t, [3]int64{0, 10, 0}, peaks(), "0 until the next malloc")
	set(a, 1, Change{Mallocs: 1})
	require.Equal(t, [3]int64{9, 10, 0}, peaks())
	set(b, 9, Change{Grew: true})
	require.Equal(t, [3]int64{10, 10, 9}, peaks())
}

// More than a word of credit holds, in one stream and in all.
func TestLedgerCounts64TiB(t *testing.T) {
	l := New()
	r, s := openRow(l, 1, "s"), openRow(l, 2, "s")
	const most, block = int64(64) << 40, int64(1) << 40
	var f streams.Figures
	for f.Active < most {
		f.Active += block
		r.Malloc(&f, block)
		require.Equal(t, f.Active, l.Active())
	}
	require.True(t, l.leased, "one stream runs")
	g := streams.Figures{Active: unit}
	s.Malloc(&g, unit)
	for f.Active > 0 {
		f.Active -= block
		r.Free(&f, block)
		require.Equal(t, f.Active+unit, l.Active())
	}
	require.Equal(t, most+unit, l.Totals().Peak)
}

// A program holds much and moves little, close below its peak: credit is shared.
func TestCreditBesideMuchThatStays(t *testing.T) {
	l := New()
	var rows [3]Row
	var figs [3]streams.Figures
	for i := range rows {
		l.Open(&rows[i], Owner{ID: uint64(i)})
	}
	move := func(i int, n int64) {
		figs[i].Active += n
		if n > 0 {
			rows[i].Malloc(&figs[i], n)
		} else {
			rows[i].Free(&figs[i], -n)
		}
	}
	move(2, 64<<30)
	for i := range 2 {
		move(i, 8*unit)
	}
	for i := range 2 {
		move(i, -8*unit)
	}
	for range 100 {
		for i := range 2 {
			move(i, unit)
			move(i, -unit)
		}
	}
	require.True(t, rows[0].out && rows[1].out, "both have credit")
	require.False(t, l.leased)
}
