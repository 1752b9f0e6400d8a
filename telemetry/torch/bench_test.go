package torch

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkReadFile(b *testing.B) {
	for _, trace := range traces {
		b.Run(trace.name, func(b *testing.B) {
			path := tracePath(trace.name)
			info, err := os.Stat(path)
			require.NoError(b, err)
			b.SetBytes(info.Size())
			b.ReportAllocs()
			for b.Loop() {
				h, err := ReadFile(path, nil)
				require.NoError(b, err)
				require.Len(b, h.Events, trace.events)
			}
			b.ReportMetric(float64(trace.events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkRequestedPeaks(b *testing.B) {
	h, err := ReadFile(tracePath("train-gpt2"), nil)
	require.NoError(b, err)
	for b.Loop() {
		total, _ := h.RequestedPeaks()
		require.Positive(b, total)
	}
}
