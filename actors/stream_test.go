package actors

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/actors/turn"
	"github.com/metalloc/metalloc/metal/sim"
)

func startForPanics(t *testing.T) (*Core, *Stream) {
	t.Helper()
	dev, err := sim.New(sim.Config{})
	require.NoError(t, err)
	c, err := Start(dev, Config{MemoryLimit: DefaultLimit, CacheLimit: DefaultLimit})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close(context.Background()))
		require.NoError(t, dev.Close())
	})
	s, err := c.NewStream(StreamConfig{})
	require.NoError(t, err)
	return c, s
}

// inTurn runs f in the stream's turn and gives what its panic became.
func inTurn(s *Stream, f func()) error {
	k := s.core.newCall(func(*call) { f() })
	defer s.core.freeCall(k)
	s.do(k)
	return k.err
}

// A handler panics with a block in its hands: the block goes back.
func TestTakenBlockReturnsAfterPanic(t *testing.T) {
	c, s := startForPanics(t)
	b, err := s.Malloc(context.Background(), 1000)
	require.NoError(t, err)
	err = inTurn(s, func() {
		s.takenOne = s.heap.Malloc(2048, 2000)
		s.settle(ledger.Change{})
		panic("boom")
	})
	var pe *turn.PanicError
	require.ErrorAs(t, err, &pe)
	require.EqualValues(t, 1024, s.ActiveMemory()) // comes after the restart
	require.EqualValues(t, 1024, c.ActiveMemory())
	require.NoError(t, c.ledger.Check(true))
	require.NoError(t, b.Free())
	require.Zero(t, c.ActiveMemory())
	require.NoError(t, inTurn(s, func() { require.NoError(t, s.heap.Check()) }))
}

// A stream found broken hands out nothing more; the rest goes on.
func TestFailedStream(t *testing.T) {
	c, s := startForPanics(t)
	b, err := s.Malloc(context.Background(), 1000)
	require.NoError(t, err)
	require.NoError(t, inTurn(s, func() { s.broken = ErrBadMessage }))
	for _, size := range []int64{1000, 64 << 20} { // a hit, a miss
		_, err = s.Malloc(context.Background(), size)
		require.ErrorIs(t, err, ErrStreamFailed)
		require.ErrorIs(t, err, ErrBadMessage, "why")
	}
	require.EqualValues(t, 1024, s.ActiveMemory())
	other, err := c.NewStream(StreamConfig{})
	require.NoError(t, err)
	d, err := other.Malloc(context.Background(), 1000)
	require.NoError(t, err)
	require.NoError(t, d.Free())
	require.NoError(t, b.Free())
	require.NoError(t, s.Close(context.Background()))
	require.NoError(t, c.ledger.Check(true))
}

// startWithThree is startForPanics with three buffers of 1000 bytes.
func startWithThree(t *testing.T) (*Core, *Stream, []Buffer) {
	c, s := startForPanics(t)
	var bufs []Buffer
	for range 3 {
		b, err := s.Malloc(context.Background(), 1000)
		require.NoError(t, err)
		bufs = append(bufs, b)
	}
	return c, s, bufs
}

// A turn panics after others have left blocks for the stream: they are freed all the
// same, and counted once.
func TestPanicWithBlocksLeft(t *testing.T) {
	c, s, bufs := startWithThree(t)
	err := inTurn(s, func() {
		freed := make(chan error)
		go func() { freed <- FreeAll(bufs[:2]) }()
		require.NoError(t, <-freed, "it doesn't wait for the turn")
		require.EqualValues(t, 1024, c.ledger.Active(), "not active any more")
		require.ErrorIs(t, bufs[0].Free(), ErrDoubleFree)
		panic("boom")
	})
	var pe *turn.PanicError
	require.ErrorAs(t, err, &pe)
	require.EqualValues(t, 1024, s.ActiveMemory())
	require.NoError(t, inTurn(s, func() {
		require.EqualValues(t, 1024, s.heap.Figures().Active)
		require.NoError(t, s.heap.Check())
	}))
	require.NoError(t, c.ledger.Check(true))
	f := c.Snapshot().Total
	require.Equal(t, []int64{1, 3, 2, 1000}, []int64{f.Buffers, f.Mallocs, f.Frees, f.Requested})
	require.NoError(t, bufs[2].Free())
	require.Zero(t, c.ActiveMemory())
}

// The same when freeing what was left is what panics: the rest is freed after the
// restart.
func TestPanicWhileTakingUp(t *testing.T) {
	c, s, bufs := startWithThree(t)
	err := inTurn(s, func() {
		freed := make(chan error)
		go func() { freed <- FreeAll(bufs) }()
		require.NoError(t, <-freed)
		s.arrived = s.inbox.Take() // as takeUp, which got no further than the first
		first := s.arrived
		s.arrived = first.Left()
		s.takenUp = ledger.Taken{Blocks: 1, Bytes: first.Size(), Requested: first.Requested()}
		s.heap.Free(first)
		panic("boom")
	})
	var pe *turn.PanicError
	require.ErrorAs(t, err, &pe)
	require.Zero(t, s.ActiveMemory())
	require.NoError(t, c.ledger.Check(true))
	f := c.Snapshot().Total
	require.Equal(t, []int64{0, 3, 3, 0}, []int64{f.Buffers, f.Mallocs, f.Frees, f.Requested})
}
