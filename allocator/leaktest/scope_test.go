package leaktest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/allocator/leaktest"
)

// A scope doesn't wait for what other streams' queues are doing.
func TestScopeWaitsForItsOwn(t *testing.T) {
	rt, dev := open(t)
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s, side := stream(t, rt), stream(t, rt, allocator.WithHandle(q.Handle()))
	f := &fakeT{}
	scope := leaktest.NewScope(f, rt, leaktest.WithTimeout(50*time.Millisecond))
	own, err := scope.NewStream()
	require.NoError(t, err)
	require.NoError(t, grab(t, own, 100).Free())
	b := grab(t, s, 4096)
	q.Submit()
	require.NoError(t, b.RecordUse(side))
	require.NoError(t, b.Free())
	require.Empty(t, f.end())
	q.CompleteAll()
}

// A buffer that has grown is reported with its size, from where it was asked for.
func TestGrownBufferIsReported(t *testing.T) {
	rt, _ := open(t)
	s := stream(t, rt)
	f := &fakeT{}
	leaktest.Check(f, rt)
	b := grab(t, s, 100)
	b, err := b.Grow(ctx, 3000)
	require.NoError(t, err)
	got := f.end()
	require.Contains(t, got, "1 buffer, 2.9 KiB")
	require.Contains(t, got, "leaktest_test.grab")
	require.NoError(t, b.Free())
}

// The real testing.T, subtests in parallel, one runtime: a Check around all and
// a scope in each.
func TestParallelSubtests(t *testing.T) {
	rt, _ := open(t)
	t.Run("all", func(t *testing.T) {
		leaktest.Check(t, rt)
		for i := range 8 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				scope := leaktest.NewScope(t, rt)
				s, err := scope.NewStream(allocator.WithName(t.Name()))
				require.NoError(t, err)
				var bufs []allocator.Buffer
				for j := range 50 {
					bufs = append(bufs, grab(t, s, int64(1000*(i+j+1))))
				}
				live := 0
				for _, b := range rt.LiveBuffers() {
					if b.StreamID == s.ID() {
						require.NotNil(t, b.Site)
						live++
					}
				}
				require.Equal(t, 50, live)
				require.NoError(t, allocator.FreeAll(bufs))
			})
		}
	})
	require.Empty(t, rt.LiveBuffers())
	require.Len(t, rt.Snapshot().Streams, 1, "the scopes have closed their streams")
}
