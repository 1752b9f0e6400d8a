package pagebook

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

// TestPagesAgainstModel plays random Maps and Unmaps, right and wrong ones, on
// one range longer than a chunk, against an array with a handle for each page.
func TestPagesAgainstModel(t *testing.T) {
	const pages = chunkPages + 40
	rapid.Check(t, func(t *rapid.T) {
		b, _ := newBook()
		r, err := b.Reserve(pages * unit)
		require.NoError(t, err)
		var at [pages]metal.Handle
		sizes := map[metal.Handle]int64{} // pages
		where := map[metal.Handle]int64{} // first page, of those that are mapped
		var hs []metal.Handle
		for range 8 {
			n := rapid.Int64Range(1, 4).Draw(t, "pages")
			h, err := b.Create(n * unit)
			require.NoError(t, err)
			hs, sizes[h] = append(hs, h), n
		}
		// Around the border of two chunks, so that mappings cross it.
		page := rapid.Int64Range(chunkPages-12, chunkPages+12)

		t.Repeat(map[string]func(*rapid.T){
			"map": func(t *rapid.T) {
				from := page.Draw(t, "from")
				some := rapid.SliceOfN(rapid.SampledFrom(hs), 1, 3).Draw(t, "handles")
				next, ok := from, true
				var seen [pages]bool
				used := map[metal.Handle]bool{}
				for _, h := range some {
					_, mapped := where[h]
					ok = ok && !mapped && !used[h]
					used[h] = true
					for range sizes[h] {
						ok = ok && next < pages && at[next] == 0 && !seen[next]
						next++
					}
				}
				require.Equal(t, ok, b.Map(r, from*unit, some) == nil)
				if !ok {
					return
				}
				for _, h := range some {
					where[h] = from
					for range sizes[h] {
						at[from] = h
						from++
					}
				}
			},
			"unmap": func(t *rapid.T) {
				from := page.Draw(t, "from")
				to := min(from+rapid.Int64Range(1, 8).Draw(t, "pages"), pages)
				ok, gone := true, map[metal.Handle]bool{}
				for p := from; p < to; p++ {
					h := at[p]
					ok = ok && h != 0 && where[h] >= from && where[h]+sizes[h] <= to
					gone[h] = true
				}
				err := b.Unmap(r, from*unit, (to-from)*unit)
				require.Equal(t, ok, err == nil, "%v", err)
				if !ok {
					return
				}
				for h := range gone {
					delete(where, h)
				}
				for p := from; p < to; p++ {
					at[p] = 0
				}
			},
			"": func(t *rapid.T) {
				pr := b.ranges[r.Addr]
				require.Equal(t, len(where), pr.mapped)
				for p := range int64(pages) {
					if pr.at(p) != at[p] { // require.Equal is slow, and there are many pages
						t.Fatalf("page %d: handle %d, want %d", p, pr.at(p), at[p])
					}
				}
				for _, h := range hs {
					first, mapped := where[h]
					require.Equal(t, mapped, len(b.pieces[h].places) > 0, "handle %d", h)
					if mapped {
						require.Equal(t, first*unit, b.pieces[h].places[0].offset, "handle %d", h)
					}
				}
			},
		})
	})
}

// BenchmarkMapUnmap moves 16 pages while 100,000 others are mapped: the others
// must not show.
func BenchmarkMapUnmap(b *testing.B) {
	const others, k = 100_000, 16
	book := New(Config{Unit: unit, Memory: (others + k) * unit, MaxBuffer: unit}, &bump{live: map[uintptr]int64{}})
	r, _ := book.Reserve(4 * others * unit)
	hs := make([]metal.Handle, others+k)
	for i := range hs {
		hs[i], _ = book.Create(unit)
	}
	if err := book.Map(r, 0, hs[:others]); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := book.Map(r, others*unit, hs[others:]); err != nil {
			b.Fatal(err)
		}
		if err := book.Unmap(r, others*unit, k*unit); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/k, "ns/page")
}
