package actors_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// capturing is a device whose queues can't be asked while a capture goes on.
type capturing struct {
	*marker
	busy bool
}

func (c *capturing) Reached(m metal.Mark) (bool, error) {
	if c.busy {
		return false, metal.ErrBusy
	}
	return c.marker.Reached(m)
}

// A queue that never says where it is ends Settle with an error, not with a loop.
func TestSettleOfABusyQueue(t *testing.T) {
	dev := &capturing{marker: &marker{Device: simDevice(t)}}
	c := start(t, dev, defaults())
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s, side := newStream(t, c, actors.StreamConfig{}), newStream(t, c, actors.StreamConfig{Queue: q.Handle()})
	b := malloc(t, s, 1000)
	q.Submit()
	require.NoError(t, b.RecordUse(side))
	require.NoError(t, b.Free())
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, c.Settle(ended), context.Canceled)
	dev.busy = true
	q.CompleteAll()
	within(t, func() { require.ErrorIs(t, c.Settle(ctx), actors.ErrBusy) })
	dev.busy = false
	within(t, func() { require.NoError(t, s.Settle(nil)) }) //nolint:staticcheck // nil means no end
	require.Zero(t, c.Snapshot().Total.Pending)
}

// What Close could not give back, though no buffer lives, has words of its own.
func TestCloseWithABusyQueue(t *testing.T) {
	dev := &busyRecord{Device: simDevice(t)}
	cfg := defaults()
	c, err := actors.Start(dev, cfg)
	require.NoError(t, err)
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s := newStream(t, c, actors.StreamConfig{Queue: q.Handle()})
	b := malloc(t, s, 3*page)
	dev.busy = true
	require.NoError(t, b.Free())
	var leak *actors.LeakError
	within(t, func() { require.ErrorAs(t, c.Close(ctx), &leak) })
	require.Zero(t, leak.Buffers)
	require.EqualValues(t, 3*page, leak.Pending)
	require.ErrorContains(t, leak, "no buffer live, but 6291456 bytes freed")
	dev.busy = false
	require.NoError(t, c.Close(ctx))
	require.NoError(t, dev.Close())
}

type busyRecord struct {
	*sim.Device
	busy bool
}

func (d *busyRecord) Record(q metal.Queue) (metal.Mark, error) {
	if d.busy {
		return metal.Mark{}, metal.ErrBusy
	}
	return d.Device.Record(q)
}

// permutations of 0…n-1.
func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, p := range permutations(n - 1) {
		for i := range n {
			all = append(all, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return all
}

// A block used on other streams is handed out again, and its page given up, once
// each of them has passed the point of the Free: in whichever order they do.
func TestRecordUseInEveryOrder(t *testing.T) {
	for n := 1; n <= 4; n++ {
		for _, order := range permutations(n) {
			inOrder(t, n, order)
		}
	}
}

func inOrder(t *testing.T, n int, order []int) {
	dev := simDevice(t)
	c, err := actors.Start(dev, defaults())
	require.NoError(t, err)
	s := newStream(t, c, actors.StreamConfig{})
	var queues []*metal.SoftQueue
	var users []*actors.Stream
	for range n {
		q, err := dev.NewQueue()
		require.NoError(t, err)
		queues = append(queues, q)
		users = append(users, newStream(t, c, actors.StreamConfig{Queue: q.Handle()}))
	}
	reused, cleared := malloc(t, s, page), malloc(t, s, page) // side by side, a page each
	before := make([]uint64, n)
	for i, u := range users {
		before[i] = queues[i].Submit()
		require.NoError(t, reused.RecordUse(u))
		require.NoError(t, cleared.RecordUse(u))
		require.NoError(t, cleared.RecordUse(u), "twice is once")
	}
	require.NoError(t, cleared.Free())
	_, err = c.ClearCache()
	require.NoError(t, err)
	require.NoError(t, reused.Free())
	for _, q := range queues {
		q.Submit() // work after the Free: nobody waits for it
	}
	for _, i := range order {
		total := c.Snapshot().Total
		require.EqualValues(t, 2*page, total.Pending, "order %v, before %d", order, i)
		require.EqualValues(t, 2*page, total.Reserved)
		other := malloc(t, s, page)
		require.NotEqual(t, reused.Addr(), other.Addr(), "order %v, before %d", order, i)
		require.NotEqual(t, cleared.Addr(), other.Addr())
		require.NoError(t, other.Free())
		_, err := s.SetCacheLimit(2 * page) // the other page goes, these stay
		require.NoError(t, err)
		_, err = s.SetCacheLimit(actors.NoLimit)
		require.NoError(t, err)
		// Whoever looks after the mark before may have taken it, and be on the way.
		eventually(t, func() bool { return c.ReservedMemory() == 2*page })
		queues[i].Complete(before[i])
	}
	eventually(t, func() bool { return c.ReservedMemory() == page }) // what ClearCache met goes by itself
	require.NoError(t, s.Settle(ctx))
	again := malloc(t, s, page)
	require.Equal(t, reused.Addr(), again.Addr())
	require.NoError(t, again.Free())
	for _, q := range queues {
		q.CompleteAll()
	}
	require.NoError(t, c.Close(ctx))
	require.NoError(t, dev.Close())
}
