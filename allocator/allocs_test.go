package allocator_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

// What runs all the time costs no heap allocation.
func TestNoAllocations(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s, other := newStream(t, rt), newStream(t, rt, allocator.WithHandle(q.Handle()))
	held := malloc(t, s, 1000)
	free(t, malloc(t, s, 1<<20))
	for name, f := range map[string]func(){
		"Malloc and Free": func() {
			b, err := s.Malloc(ctx, 1<<20)
			if err != nil || b.Free() != nil {
				panic(err)
			}
		},
		"zero bytes": func() {
			b, err := s.Malloc(ctx, 0)
			if err != nil || b.Free() != nil {
				panic(err)
			}
		},
		"RecordUse": func() {
			if err := held.RecordUse(other); err != nil {
				panic(err)
			}
		},
		"runtime's queries": func() {
			_ = rt.ActiveMemory() + rt.PeakMemory() + rt.CacheMemory() + rt.ReservedMemory()
			_ = rt.MemoryLimit() + rt.CacheLimit() + rt.WiredLimit()
		},
		"stream's queries":      func() { _ = s.ActiveMemory() + s.PeakMemory() + s.CacheMemory() + s.ReservedMemory() },
		"reset":                 func() { rt.ResetPeakMemory(); s.ResetPeakMemory() },
		"limits, nothing to do": func() { _, _ = rt.SetMemoryLimit(1 << 30); _, _ = rt.SetCacheLimit(1 << 30) },
	} {
		t.Run(name, func(t *testing.T) {
			if race {
				t.Skip("the race detector allocates")
			}
			require.Zero(t, testing.AllocsPerRun(1000, f))
		})
	}
	free(t, held)
}
