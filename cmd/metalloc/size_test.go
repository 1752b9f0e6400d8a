package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "12GiB": 12 << 30, "12 gib": 12 << 30, "1.5G": 1_500_000_000, "1.5GB": 1_500_000_000,
		"64m": 64_000_000, "7EiB": 7 << 60,
	} {
		var s size
		require.NoError(t, s.Set(text), text)
		require.Equal(t, want, s.bytes, text)
		require.True(t, s.set)
	}
	for _, text := range []string{"", " ", "-1", "-1GiB", "+1", "1e9", "NaN", "Inf", "0x10", "12 parsecs", "8EiB", "9223372036854775808", "1,024"} {
		var s size
		require.Error(t, s.Set(text), text)
		require.False(t, s.set)
		require.Empty(t, s.String())
	}
}

func TestDuration(t *testing.T) {
	for ns, want := range map[int64]string{0: "0s", 999: "999ns", 1234: "1.23µs", 13_987_654: "14ms", 4_567_890_123: "4.57s"} {
		require.Equal(t, want, duration(ns))
	}
}

// FuzzSize: whatever the text, a size is taken whole or refused with nothing
// changed, and what the flag shows of it is a size again, within what people
// round. More seeds are in testdata/fuzz/FuzzSize.
func FuzzSize(f *testing.F) {
	for _, text := range []string{"0", "4096", "12GiB", "1.5G", "-1", "1,024", "8EiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, positive := range []bool{false, true} {
			s := size{positive: positive}
			if err := s.Set(text); err != nil {
				require.Equal(t, size{positive: positive}, s)
				require.NotContains(t, err.Error(), "\n")
				continue
			}
			require.True(t, s.set)
			require.GreaterOrEqual(t, s.bytes, int64(0))
			require.False(t, positive && s.bytes == 0)
			var again size
			if err := again.Set(s.String()); err != nil {
				require.Greater(t, float64(s.bytes), 7.9*(1<<60), "only what rounds up to 8 EiB is no size again")
				continue
			}
			require.InDelta(t, float64(s.bytes), float64(again.bytes), float64(s.bytes)/10)
		}
	})
}
