package actors

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// This file has tests of free pages that move, to a stream or within one.

const piece = 2 << 20 // the simulated device's page

// lending is a runtime whose streams lend each other pages.
type lending struct {
	t    *testing.T
	dev  *strict
	core *Core
}

// strict counts calls that break the device's rules: an error of the book, not a
// scripted one. Its marks can be kept from telling.
type strict struct {
	*sim.Device
	broken atomic.Int32
	silent atomic.Bool
}

func (d *strict) note(err error) error {
	if errors.Is(err, metal.ErrBusy) || errors.Is(err, metal.ErrInvalidSize) || errors.Is(err, metal.ErrUnknownHandle) {
		d.broken.Add(1)
	}
	return err
}

func (d *strict) Release(h metal.Handle) error { return d.note(d.Device.Release(h)) }

func (d *strict) Map(r metal.Range, offset int64, hs []metal.Handle) error {
	return d.note(d.Device.Map(r, offset, hs))
}

func (d *strict) Unmap(r metal.Range, offset, size int64) error {
	return d.note(d.Device.Unmap(r, offset, size))
}

func (d *strict) Notify(m metal.Mark, f func()) {
	if !d.silent.Load() {
		d.Device.Notify(m, f)
	}
}

func lend(t *testing.T, dc sim.Config, cfg Config) *lending {
	t.Helper()
	dev, err := sim.New(dc)
	require.NoError(t, err)
	l := &lending{t: t, dev: &strict{Device: dev}}
	if cfg.MemoryLimit == 0 {
		cfg.MemoryLimit = DefaultLimit
	}
	cfg.CacheLimit = DefaultLimit
	l.core, err = Start(l.dev, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.core.Close(context.Background()))
		require.NoError(t, l.core.ledger.Check(true))
		require.NoError(t, dev.Close())
		require.Zero(t, l.dev.broken.Load(), "calls against the device's rules")
	})
	return l
}

func (l *lending) stream(limits *StreamLimits) *Stream {
	l.t.Helper()
	s, err := l.core.NewStream(StreamConfig{Limits: limits})
	require.NoError(l.t, err)
	return s
}

func (l *lending) queued() (*Stream, *metal.SoftQueue) {
	l.t.Helper()
	q, err := l.dev.NewQueue()
	require.NoError(l.t, err)
	l.t.Cleanup(q.CompleteAll)
	s, err := l.core.NewStream(StreamConfig{Queue: q.Handle()})
	require.NoError(l.t, err)
	return s, q
}

func (l *lending) malloc(s *Stream, size int64) Buffer {
	l.t.Helper()
	b, err := s.Malloc(context.Background(), size)
	require.NoError(l.t, err)
	return b
}

func (l *lending) free(bs ...Buffer) {
	l.t.Helper()
	require.NoError(l.t, FreeAll(bs))
}

func (l *lending) calls(c sim.Call) int64 { return l.dev.Calls()[c] }

// check compares the books with each other and with the device.
func (l *lending) check() {
	l.t.Helper()
	require.NoError(l.t, l.core.ledger.Check(true))
	l.amid()
}

// amid is check while pages are on their way.
func (l *lending) amid() {
	l.t.Helper()
	require.NoError(l.t, l.core.ledger.Check(false))
	u, err := l.dev.Usage()
	require.NoError(l.t, err)
	require.Equal(l.t, l.core.ReservedMemory(), u.Taken)
	for _, s := range l.core.holders(true) {
		require.NoError(l.t, inTurn(s, func() { require.NoError(l.t, s.heap.Check()) }))
	}
}

func (l *lending) eventually(what func() bool, msg string) {
	l.t.Helper()
	require.Eventually(l.t, what, 20*time.Second, time.Millisecond, msg)
}

// What one stream leaves idle serves the next one's miss, as much as that lacks.
func TestIdleStreamLends(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{})
	a, b := l.stream(nil), l.stream(nil)
	l.free(l.malloc(a, 5*piece))
	created := l.calls(sim.CallCreate)
	x := l.malloc(b, 2*piece)
	require.Equal(t, created, l.calls(sim.CallCreate), "nothing is created")
	require.Zero(t, l.calls(sim.CallRelease))
	require.EqualValues(t, 3*piece, a.ReservedMemory(), "no more is taken than is missing")
	require.EqualValues(t, 2*piece, b.ReservedMemory())
	l.check()
	y := l.malloc(b, 4*piece)
	require.Equal(t, created+1, l.calls(sim.CallCreate), "only what nobody has free")
	require.Zero(t, a.ReservedMemory())
	l.check()
	l.free(x, y)
}

// A handle that is larger than what is missing is given back and made anew.
func TestLargeHandleIsBrokenUp(t *testing.T) {
	l := lend(t, sim.Config{}, Config{})
	a, b := l.stream(nil), l.stream(nil)
	l.free(l.malloc(a, 8*piece))
	x := l.malloc(b, piece)
	require.EqualValues(t, 1, l.calls(sim.CallRelease))
	require.EqualValues(t, piece, l.core.ReservedMemory())
	require.EqualValues(t, 8*piece, l.core.Snapshot().Total.ReservedPeak)
	l.check()
	l.free(x)
}

// The pages that have been free longest go first, whoever has more of them.
func TestOldestPagesAreLent(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{})
	a, b, d := l.stream(nil), l.stream(nil), l.stream(nil)
	x, y := l.malloc(a, 3*piece), l.malloc(b, 5*piece)
	l.free(x)
	held := []Buffer{l.malloc(d, piece)} // everybody is asked, and remembers when
	require.EqualValues(t, 2*piece, a.CacheMemory())
	l.free(y)
	held = append(held, l.malloc(d, piece))
	require.Equal(t, []int64{piece, 5 * piece}, []int64{a.CacheMemory(), b.CacheMemory()})
	held = append(held, l.malloc(d, 2*piece))
	require.Equal(t, []int64{0, 4 * piece}, []int64{a.CacheMemory(), b.CacheMemory()})
	require.EqualValues(t, 8, l.calls(sim.CallCreate))
	l.check()
	l.free(held...)
}

// A busy stream is waited for rather than the device asked.
func TestBusyStreamLends(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{})
	a, b := l.stream(nil), l.stream(nil)
	l.free(l.malloc(a, 2*piece))
	got := make(chan Buffer, 1)
	require.NoError(t, inTurn(a, func() {
		go func() {
			x, err := b.Malloc(context.Background(), 2*piece)
			if err == nil {
				got <- x
			}
		}()
		select {
		case <-got:
			t.Error("it did not ask the busy stream")
		case <-time.After(20 * time.Millisecond):
		}
	}))
	l.free(<-got)
	require.EqualValues(t, 2, l.calls(sim.CallCreate))
	require.Zero(t, a.ReservedMemory())
	l.check()
}

// A closed stream whose queue has passed by now lends what it still has, and is
// forgotten then.
func TestClosedStreamLends(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{})
	a, q := l.queued()
	b := l.stream(nil)
	x := l.malloc(a, 2*piece)
	q.Submit()
	l.dev.silent.Store(true) // nobody looks by itself
	l.free(x)
	require.NoError(t, a.Close(context.Background()))
	require.EqualValues(t, 2*piece, l.core.CacheMemory())
	y := l.malloc(b, piece)
	require.EqualValues(t, 3, l.calls(sim.CallCreate), "the queue has not passed")
	q.CompleteAll()
	z := l.malloc(b, 2*piece)
	require.EqualValues(t, 3, l.calls(sim.CallCreate))
	require.EqualValues(t, 3*piece, l.core.ReservedMemory())
	l.eventually(func() bool { return len(l.core.holders(true)) == 1 }, "the closed stream holds nothing")
	l.check()
	l.dev.silent.Store(false)
	l.free(y, z)
}

// What others lend counts against the stream's own limit; what it has itself does not.
func TestLentPagesCountForTheStreamsLimit(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{Policy: Refuse})
	a, b := l.stream(&StreamLimits{Memory: 4 * piece, Cache: NoLimit}), l.stream(nil)
	l.free(l.malloc(b, 10*piece))
	_, err := a.Malloc(context.Background(), 5*piece)
	require.ErrorIs(t, err, ErrLimitExceeded)
	l.check()
	x := l.malloc(a, 4*piece)
	l.free(x)
	_, err = a.SetMemoryLimit(3 * piece)
	require.NoError(t, err)
	small := l.malloc(a, 1000) // a page of its own moves
	require.LessOrEqual(t, a.ReservedMemory(), int64(3*piece))
	l.check()
	l.free(small)
}

// The limit has moved below what the stream has: its own pages serve it all the same.
func TestOwnPagesServeAboveTheLimit(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{Policy: Refuse})
	a := l.stream(nil)
	x, y := l.malloc(a, 2*piece), l.malloc(a, 3*piece)
	_, err := a.SetMemoryLimit(piece)
	require.NoError(t, err)
	_, err = l.core.SetMemoryLimit(piece)
	require.NoError(t, err)
	l.free(y)
	z := l.malloc(a, 1000)
	require.EqualValues(t, 5*piece, l.core.ReservedMemory())
	l.check()
	l.free(x, z)
}

// While a large handle is broken up the room that it leaves is the ticket's.
func TestRoomOfABrokenUpHandle(t *testing.T) {
	l := lend(t, sim.Config{}, Config{Policy: Refuse, MemoryLimit: 6 * piece})
	a, b, d, e := l.stream(nil), l.stream(nil), l.stream(nil), l.stream(nil)
	y := l.malloc(b, 3*piece)
	l.free(l.malloc(a, 3*piece))
	other := make(chan error, 1)
	l.dev.Hook(func(c sim.Call) {
		if c != sim.CallCreate {
			return
		}
		l.dev.Hook(nil)
		go func() {
			z, err := e.Malloc(context.Background(), 3*piece)
			if err == nil {
				err = z.Free()
			}
			other <- err
		}()
		time.Sleep(30 * time.Millisecond) // it asks for its promise
	})
	x := l.malloc(d, piece)
	require.ErrorIs(t, <-other, ErrLimitExceeded)
	require.LessOrEqual(t, l.core.Snapshot().Total.ReservedPeak, int64(6*piece))
	l.check()
	l.free(x, y)
}

// On a device that gives whole segments, one that is free goes to whoever misses one
// of its size; others make room for one that none of them can be.
func TestSegmentsAreLent(t *testing.T) {
	dev, err := sim.NewSegments(sim.Config{})
	require.NoError(t, err)
	c, err := Start(dev, Config{MemoryLimit: DefaultLimit, CacheLimit: DefaultLimit})
	require.NoError(t, err)
	a, err := c.NewStream(StreamConfig{})
	require.NoError(t, err)
	b, err := c.NewStream(StreamConfig{})
	require.NoError(t, err)
	get := func(s *Stream, size int64) Buffer {
		buf, err := s.Malloc(context.Background(), size)
		require.NoError(t, err)
		return buf
	}
	used := func(calls ...int64) {
		n := dev.Calls()
		got := []int64{n[sim.CallAlloc], n[sim.CallFree]}
		require.Equal(t, calls, got)
		require.NoError(t, c.ledger.Check(true))
	}

	first := get(a, 30<<20)
	addr := first.Addr()
	require.NoError(t, first.Free())
	lent := get(b, 28<<20)
	require.Equal(t, addr, lent.Addr(), "the very segment")
	used(1, 0)
	require.Zero(t, a.ReservedMemory())
	require.EqualValues(t, 30<<20, b.ReservedMemory())
	require.EqualValues(t, 2<<20, c.Snapshot().Total.Slack)

	require.NoError(t, lent.Free())
	large := get(a, 90<<20)
	used(2, 1) // b's was too small: it went back
	require.EqualValues(t, 90<<20, c.ReservedMemory())
	require.EqualValues(t, 90<<20, c.Snapshot().Total.ReservedPeak)

	require.NoError(t, large.Free())
	small := get(b, 10<<20)
	used(3, 2) // a's is far too large to be split for others
	require.NoError(t, small.Free())
	require.NoError(t, c.Close(context.Background()))
	require.NoError(t, dev.Close())
}

// A stream that its own limit will refuse is lent nothing: others might be refused
// for what it then holds in vain.
func TestNobodyLendsInVain(t *testing.T) {
	l := lend(t, sim.Config{HandleSize: piece}, Config{Policy: Refuse})
	a, b := l.stream(&StreamLimits{Memory: 2 * piece, Cache: NoLimit}), l.stream(nil)
	held := l.malloc(a, 2*piece)
	l.free(l.malloc(b, piece))
	_, err := a.Malloc(context.Background(), 1000)
	require.ErrorIs(t, err, ErrLimitExceeded)
	require.EqualValues(t, piece, b.CacheMemory(), "it stayed where it was")
	require.Zero(t, l.calls(sim.CallUnmap))
	l.check()
	l.free(held)
}
