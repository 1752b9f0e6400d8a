package ledger

import (
	"testing"

	"github.com/metalloc/metalloc/streams"
)

// BenchmarkPair is what a malloc and its free cost in the ledger, by mode.
func BenchmarkPair(b *testing.B) {
	for _, mode := range []string{"lease", "credits", "central"} {
		b.Run(mode, func(b *testing.B) {
			l := New()
			var rows [2]Row
			var figs [2]streams.Figures
			for i := range rows {
				l.Open(&rows[i], Owner{ID: uint64(i)})
			}
			pair := func(i int) {
				f := &figs[i]
				f.Active += unit
				rows[i].Malloc(f, unit)
				f.Active -= unit
				rows[i].Free(f, unit)
			}
			switch mode {
			case "central":
				l.Arrived(&rows[0], 0, unit, 0)
				l.SetCacheLimit(0)
			case "credits":
				figs[1].Active = 100 * unit
				rows[1].Malloc(&figs[1], 100*unit)
				figs[1].Active = 0
				rows[1].Free(&figs[1], 100*unit)
				for range joinAfter {
					pair(0)
					pair(1)
				}
			case "lease":
				for range leaseAfter {
					pair(0)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				pair(0)
			}
			if got := map[bool]string{true: "lease"}[l.leased]; mode == "lease" && got != mode || mode == "credits" && len(l.out) != 2 || mode == "central" && len(l.out) != 0 {
				b.Fatalf("mode %q: %d rows with credit, leased %v", mode, len(l.out), l.leased)
			}
		})
	}
}
