package torch

import (
	"bytes"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRead: whatever the bytes, Read gives a history that keeps its promises or
// an error, does not panic, and allocates in proportion to its bound. More seeds
// are in testdata/fuzz/FuzzRead.
func FuzzRead(f *testing.F) {
	f.Add(dump(snapshotOf([]any{op("alloc", 512, 100, 0), op("free_completed", 512, 100, 0)})))
	f.Add(zip(f, dump(snapshotOf([]any{op("alloc", 512, 100, 7)}))))
	f.Fuzz(func(t *testing.T, data []byte) {
		const bound = 64 << 10
		before := allocated()
		h, err := Read(bytes.NewReader(data), WithMaxMemory(bound))
		// gopickle makes 300 bytes of garbage for a mark, so of each byte at worst.
		require.Less(t, allocated()-before, uint64(300*bound+4<<20))
		if err != nil {
			require.Nil(t, h)
			require.NotContains(t, err.Error(), "panicked")
			return
		}
		checkHistory(t, h)
		total, perStream := h.RequestedPeaks()
		require.GreaterOrEqual(t, total, int64(0))
		require.Len(t, perStream, len(h.Streams))
	})
}

// allocated is the number of bytes that the process has allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
