package leaktest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/allocator/leaktest"
	"github.com/metalloc/metalloc/metal/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// fakeT collects what a test would have been told.
type fakeT struct {
	mu       sync.Mutex
	errors   []string
	cleanups []func()
}

func (f *fakeT) Helper() {}

func (f *fakeT) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}
func (f *fakeT) Cleanup(c func()) { f.cleanups = append(f.cleanups, c) }

// end runs the cleanups as testing does, and gives what was reported.
func (f *fakeT) end() string {
	for i := len(f.cleanups) - 1; i >= 0; i-- {
		f.cleanups[i]()
	}
	return strings.Join(f.errors, "\n")
}

func open(t *testing.T) (*allocator.Runtime, *sim.Device) {
	t.Helper()
	dev, err := sim.New(sim.Config{})
	require.NoError(t, err)
	rt, err := allocator.Open(dev)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, b := range rt.LiveBuffers() {
			t.Errorf("test left %+v", b)
		}
		require.NoError(t, rt.Close(ctx))
	})
	return rt, dev
}

func stream(t *testing.T, rt *allocator.Runtime, opts ...allocator.StreamOption) *allocator.Stream {
	t.Helper()
	s, err := rt.NewStream(opts...)
	require.NoError(t, err)
	return s
}

//go:noinline
func grab(t *testing.T, s *allocator.Stream, n int64) allocator.Buffer {
	b, err := s.Malloc(ctx, n)
	require.NoError(t, err)
	return b
}

func TestReportNamesTheLine(t *testing.T) {
	rt, _ := open(t)
	s := stream(t, rt, allocator.WithName("loader"))
	before := grab(t, s, 10)
	f := &fakeT{}
	leaktest.Check(f, rt)
	ok := grab(t, s, 20)
	var kept []allocator.Buffer
	for range 3 {
		kept = append(kept, grab(t, s, 1000))
	}
	out := make([]allocator.Buffer, 2)
	require.NoError(t, s.MallocAll(ctx, []int64{5, 6}, out))
	require.NoError(t, ok.Free())
	got := f.end()
	require.Contains(t, got, "5 buffers still live")
	require.Contains(t, got, `3 buffers, 2.9 KiB, of stream "loader"`)
	require.Contains(t, got, "leaktest_test.grab")
	require.Contains(t, got, "leaktest_test.go:")
	require.Contains(t, got, `2 buffers, 11 B`)
	require.NotContains(t, got, "metalloc/actors.")
	require.NoError(t, allocator.FreeAll(append(append(kept, out...), before)))
}

func TestNothingToReport(t *testing.T) {
	rt, _ := open(t)
	s := stream(t, rt)
	f := &fakeT{}
	leaktest.Check(f, rt)
	require.NoError(t, grab(t, s, 1<<20).Free())
	require.Empty(t, f.end())
}

func TestIgnore(t *testing.T) {
	rt, _ := open(t)
	a := stream(t, rt, allocator.WithName("a"), allocator.WithTag("weights"))
	b := stream(t, rt, allocator.WithName("b"))
	var bufs []allocator.Buffer
	for _, opt := range []leaktest.Option{
		leaktest.IgnoreStream("a"), leaktest.IgnoreTag("weights"),
		leaktest.IgnoreFunction("github.com/metalloc/metalloc/allocator/leaktest_test.grab"),
	} {
		all, some := &fakeT{}, &fakeT{}
		leaktest.Check(all, rt)
		leaktest.Check(some, rt, opt)
		bufs = append(bufs, grab(t, a, 100))
		require.Empty(t, some.end())
		require.Contains(t, all.end(), "1 buffer still live")
		f := &fakeT{}
		leaktest.Check(f, rt, leaktest.IgnoreStream("a"))
		bufs = append(bufs, grab(t, b, 100))
		require.Contains(t, f.end(), `stream "b"`)
	}
	require.NoError(t, allocator.FreeAll(bufs))
}

func TestWaitsForPendingFrees(t *testing.T) {
	rt, dev := open(t)
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s, side := stream(t, rt), stream(t, rt, allocator.WithHandle(q.Handle()))
	f := &fakeT{}
	leaktest.Check(f, rt)
	b := grab(t, s, 4096)
	seq := q.Submit()
	require.NoError(t, b.RecordUse(side))
	require.NoError(t, b.Free())
	require.Positive(t, rt.Snapshot().Total.Pending)
	done := make(chan string)
	go func() { done <- f.end() }()
	q.Complete(seq)
	require.Empty(t, <-done)
	require.Zero(t, rt.Snapshot().Total.Pending)

	f = &fakeT{}
	leaktest.Check(f, rt, leaktest.WithTimeout(time.Millisecond))
	b = grab(t, s, 4096)
	q.Submit()
	require.NoError(t, b.RecordUse(side))
	require.NoError(t, b.Free())
	require.Contains(t, f.end(), "queued work still uses")
	q.CompleteAll()
}

func TestScopesInParallel(t *testing.T) {
	rt, _ := open(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f := &fakeT{}
			scope := leaktest.NewScope(f, rt)
			s, err := scope.NewStream(allocator.WithName(fmt.Sprint("s", i)))
			if err != nil {
				t.Error(err)
				return
			}
			b, err := s.Malloc(ctx, 777)
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				_ = b.Free()
			}
			got := f.end()
			if leaked := strings.Contains(got, "1 buffer still live"); leaked != (i%2 == 1) {
				t.Errorf("scope %d: %q", i, got)
			}
			_, err = s.Malloc(ctx, 1)
			if err == nil {
				t.Error("the scope's stream is still open")
			}
			if i%2 == 1 {
				_ = b.Free()
			}
		})
	}
	wg.Wait()
}
