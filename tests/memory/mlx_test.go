package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/telemetry/torch"
)

// A request is served by the smallest cached buffer below min(2n, n + 2 pages).
func TestMLXServes(t *testing.T) {
	const page = mlxPage
	for _, c := range []struct {
		name   string
		cached []int64
		ask    int64
		serves int64 // 0: none
	}{
		{"equal", []int64{999, 1000}, 1000, 1000},
		{"less than twice", []int64{1999}, 1000, 1999},
		{"twice", []int64{2000}, 1000, 0},
		{"smaller", []int64{999}, 1000, 0},
		{"the smallest of several", []int64{1900, 1200, 1500}, 1000, 1200},
		{"whole pages", []int64{3 * page}, 2*page + 1, 3 * page},
		{"one page more", []int64{101 * page}, 100 * page, 101 * page},
		{"two pages more", []int64{102 * page}, 100 * page, 0},
		{"two pages for one", []int64{2 * page}, page, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m mlxCache
			for _, size := range c.cached {
				m.give(size)
			}
			got := m.take(c.ask)
			if c.serves == 0 {
				require.Equal(t, got, m.reserved, "a new one")
				require.GreaterOrEqual(t, got, c.ask)
				return
			}
			require.Equal(t, c.serves, got)
			require.Zero(t, m.reserved)
			require.Zero(t, m.cached[got], "it is no longer cached")
		})
	}
}

func TestOtherOf(t *testing.T) {
	h := &torch.History{Streams: []uint64{0, 1}, Mallocs: 3, Frees: 2, Events: []torch.Event{
		{Action: torch.SegmentAlloc, Addr: 1, Size: 2 << 20, Block: -1, TimeUS: 100},
		{Action: torch.Alloc, Block: 0, Size: 40_000, TimeUS: 100},
		{Action: torch.FreeRequested, Block: 0, TimeUS: 200},
		{Action: torch.FreeRequested, Block: -1, TimeUS: 200},
		{Action: torch.Alloc, Block: 1, Size: 33_000, Stream: 1, TimeUS: 250}, // the same pages, on another stream
		{Action: torch.FreeCompleted, Block: 0, TimeUS: 300},
		{Action: torch.SegmentAlloc, Addr: 9, Size: 4 << 20, Block: -1, TimeUS: 300},
		{Action: torch.FreeRequested, Block: 1, TimeUS: 350},
		{Action: torch.FreeCompleted, Block: 1, TimeUS: 350},
		{Action: torch.Alloc, Block: 2, Size: 100, TimeUS: 400},
		{Action: torch.SegmentFree, Addr: 1, Size: 2 << 20, Block: -1, TimeUS: 1100},
	}}
	o := otherOf("t", h)
	require.EqualValues(t, 73_000, o.RequestedPeak)
	require.EqualValues(t, 3*mlxPage+100, o.MLXReserved)
	require.Equal(t, []level{{0, 2 << 20}, {200_000, 6 << 20}}, o.PyTorch[:2])
	require.Len(t, o.PyTorch, 2, "what goes with the last event is still there in its step")
}
