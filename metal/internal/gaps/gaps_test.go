package gaps

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestAgainstModel compares with a row of units, searched from the start.
func TestAgainstModel(t *testing.T) {
	const units, start = 40, 1000
	rapid.Check(t, func(t *rapid.T) {
		var s List
		s.Give(start, units)
		var used [units]bool
		type piece struct{ at, size int64 }
		var live []piece
		free := func(at, size int64) bool {
			for i := at; i < at+size; i++ {
				if i >= units || used[i] {
					return false
				}
			}
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				size := rapid.Int64Range(1, 9).Draw(t, "size")
				want := int64(0)
				for want < units && !free(want, size) {
					want++
				}
				addr, ok := s.Take(size)
				require.Equal(t, want < units, ok)
				if !ok {
					return
				}
				require.Equal(t, start+want, addr)
				live = append(live, piece{want, size})
				for i := range size {
					used[want+i] = true
				}
			},
			"give": func(t *rapid.T) {
				if len(live) == 0 {
					t.Skip("nothing taken")
				}
				i := rapid.IntRange(0, len(live)-1).Draw(t, "piece")
				p := live[i]
				live = append(live[:i], live[i+1:]...)
				s.Give(start+p.at, p.size)
				clear(used[p.at : p.at+p.size])
			},
			"": func(t *rapid.T) {
				var gaps []gap
				for i := range int64(units) {
					if used[i] {
						continue
					}
					if n := len(gaps); n > 0 && gaps[n-1].end == start+i {
						gaps[n-1].end++
					} else {
						gaps = append(gaps, gap{start + i, start + i + 1})
					}
				}
				require.ElementsMatch(t, gaps, s.gaps)
			},
		})
	})
}
