package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

// TestSpaceAgainstModel compares with a row of units, searched from the start.
func TestSpaceAgainstModel(t *testing.T) {
	const units, start = 40, 1000
	rapid.Check(t, func(t *rapid.T) {
		s := newSpace(start, units)
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
				addr, err := s.Take(size)
				if want == units {
					require.ErrorIs(t, err, metal.ErrOutOfMemory)
					return
				}
				require.NoError(t, err)
				require.EqualValues(t, start+want, addr)
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
				require.NoError(t, s.Give(uintptr(start+p.at), p.size))
				clear(used[p.at : p.at+p.size])
			},
			"": func(t *rapid.T) {
				var gaps []gap
				for i := int64(0); i < units; i++ {
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
