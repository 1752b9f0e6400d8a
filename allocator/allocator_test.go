package allocator_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/host"
)

// The whole way once, on memory that the test can write to.
func TestFirstLight(t *testing.T) {
	dev, err := host.Open()
	require.NoError(t, err)
	rt, err := allocator.Open(dev)
	require.NoError(t, err)
	s := newStream(t, rt)
	b := malloc(t, s, 1000)
	require.EqualValues(t, 1000, b.Size())
	require.EqualValues(t, 1024, b.Capacity())
	require.Len(t, b.Bytes(), 1000)
	b.Bytes()[999] = 7
	require.EqualValues(t, 1024, rt.ActiveMemory())
	require.EqualValues(t, 2<<20, rt.ReservedMemory())
	identity(t, rt)
	require.NoError(t, b.Free())
	require.Nil(t, b.Bytes())
	require.ErrorIs(t, b.Free(), allocator.ErrDoubleFree)
	require.EqualValues(t, 0, rt.ActiveMemory())
	require.EqualValues(t, 2<<20, rt.CacheMemory())
	require.EqualValues(t, 1024, rt.PeakMemory())
	require.NoError(t, rt.Close(ctx))
	require.EqualValues(t, 0, rt.ReservedMemory())
	require.EqualValues(t, 1024, rt.PeakMemory())
	require.NoError(t, dev.Close())
	_, err = s.Malloc(ctx, 1)
	require.ErrorIs(t, err, allocator.ErrClosed)
}
