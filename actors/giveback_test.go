package actors

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

const testPage = 2 << 20 // the simulated device's

// startIdle opens a runtime whose time the test moves; it is closed, cleanly, when the
// test ends.
func startIdle(t *testing.T, after time.Duration) (*Core, *sim.Device, *metal.VirtualClock) {
	t.Helper()
	clock := &metal.VirtualClock{}
	dev, err := sim.New(sim.Config{HandleSize: testPage})
	require.NoError(t, err)
	c, err := Start(dev, Config{MemoryLimit: DefaultLimit, CacheLimit: DefaultLimit, Idle: after, Clock: clock})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close(context.Background()))
		require.NoError(t, dev.Close())
	})
	return c, dev, clock
}

func stream(t *testing.T, c *Core) *Stream {
	t.Helper()
	s, err := c.NewStream(StreamConfig{})
	require.NoError(t, err)
	return s
}

func take(t *testing.T, s *Stream, n int64) Buffer {
	t.Helper()
	b, err := s.Malloc(context.Background(), n)
	require.NoError(t, err)
	return b
}

// A free that finds its stream busy is taken up later: that rings too.
func TestBusyStreamRings(t *testing.T) {
	c, _, clock := startIdle(t, DefaultIdle)
	s := stream(t, c)
	b := take(t, s, 8*testPage)
	clock.Advance(time.Minute)
	require.True(t, c.giver.asleep.Load())
	require.True(t, s.mb.Enter())
	require.NoError(t, b.Free())
	require.True(t, c.giver.asleep.Load(), "left for the stream")
	s.mb.Exit()
	awake(t, c)
	clock.Advance(2 * time.Second)
	require.Zero(t, c.ReservedMemory())
}

// awake waits until the timer is set.
func awake(t *testing.T, c *Core) {
	t.Helper()
	require.Eventually(t, func() bool {
		set := false
		c.supervise(func(p *supervisor) { set = p.core.giver.stop != nil })
		return set
	}, 20*time.Second, time.Millisecond)
}

// Streams that miss in turn, each taking the pages that were freed first: all pages
// turn over faster than anyone looks, and what is too many goes back all the same.
func TestTurningOverGoesBack(t *testing.T) {
	c, dev, clock := startIdle(t, time.Second)
	require.NoError(t, take(t, stream(t, c), 200*testPage).Free())
	var ss []*Stream
	for range 40 {
		ss = append(ss, stream(t, c))
	}
	for i := range 4000 {
		require.NoError(t, take(t, ss[i%len(ss)], 10*testPage).Free())
		clock.Advance(2 * time.Millisecond)
	}
	require.Greater(t, c.Snapshot().Total.Misses, int64(3000), "they do miss")
	require.LessOrEqual(t, c.ReservedMemory(), int64(11*testPage))
	require.LessOrEqual(t, dev.Calls()[sim.CallCreate], int64(220), "never too much went back")
}

// The same of one stream alone, that has room kept for each buffer and so never hits.
func TestTurningOverItsOwn(t *testing.T) {
	c, dev, clock := startIdle(t, time.Second)
	s := stream(t, c)
	require.NoError(t, take(t, s, 200*testPage).Free())
	for range 1000 {
		b, err := s.MallocWith(context.Background(), 50*testPage, MallocOptions{Room: 50 * testPage})
		require.NoError(t, err)
		require.NoError(t, b.Free())
		clock.Advance(5 * time.Millisecond)
	}
	require.EqualValues(t, 50*testPage, c.ReservedMemory())
	require.EqualValues(t, 200, dev.Calls()[sim.CallCreate])
}

// A page that is used again, by work that its queue has not passed yet, is not idle.
func TestWhatIsUsedAgainIsNotIdle(t *testing.T) {
	c, dev, _ := startIdle(t, DefaultIdle)
	q, err := dev.NewQueue()
	require.NoError(t, err)
	s, err := c.NewStream(StreamConfig{Queue: q.Handle()})
	require.NoError(t, err)
	idleBytes := func() (n int64) {
		c.visit(s, func(s *Stream) runs {
			free, rs := s.idleNow()
			for _, a := range free {
				n += a.Bytes
			}
			return rs
		})
		return n
	}
	require.NoError(t, take(t, s, testPage).Free())
	require.EqualValues(t, testPage, idleBytes())
	work := q.Submit()
	require.NoError(t, take(t, s, testPage).Free())
	require.Zero(t, idleBytes())
	q.Complete(work)
	require.EqualValues(t, testPage, idleBytes())
}

// Bursts of one size that come more often than patience: they keep what they need,
// and not more, from the first give-back on; however short they are.
func TestBurstsKeepTheirs(t *testing.T) {
	for _, length := range []time.Duration{0, 40 * time.Millisecond} {
		c, dev, clock := startIdle(t, time.Second)
		s := stream(t, c)
		require.NoError(t, take(t, s, 100*testPage).Free())
		created := dev.Calls()[sim.CallCreate]
		for range 100 {
			var bufs []Buffer
			for range 10 {
				bufs = append(bufs, take(t, s, 5*testPage))
			}
			clock.Advance(length)
			for _, b := range bufs {
				require.NoError(t, b.Free())
			}
			awake(t, c)
			clock.Advance(500 * time.Millisecond)
		}
		require.EqualValues(t, 50*testPage, c.ReservedMemory())
		require.Equal(t, created, dev.Calls()[sim.CallCreate])
	}
}

// blinded is a device whose meter is broken.
type blinded struct {
	*sim.Device
	asked atomic.Int64
}

func (d *blinded) Usage() (metal.Usage, error) {
	d.asked.Add(1)
	panic("scripted panic")
}

// A meter that panics hinders nobody.
func TestBrokenMeter(t *testing.T) {
	inner, err := sim.New(sim.Config{})
	require.NoError(t, err)
	dev, clock := &blinded{Device: inner}, &metal.VirtualClock{}
	c, err := Start(dev, Config{MemoryLimit: DefaultLimit, CacheLimit: DefaultLimit, Idle: DefaultIdle, Clock: clock})
	require.NoError(t, err)
	require.NoError(t, take(t, stream(t, c), testPage).Free())
	clock.Advance(2 * time.Second)
	require.Positive(t, dev.asked.Load())
	require.Zero(t, c.ReservedMemory())
	require.NoError(t, c.Close(context.Background()))
	require.NoError(t, dev.Close())
}

// With a scheduler of tests there is no real time, and with it no give-back.
func TestNoTimeUnderAScheduler(t *testing.T) {
	c := &Core{clock: &stepClock{}}
	require.NoError(t, c.giver.open(c, DefaultIdle))
	require.False(t, c.giver.on)
	before := c.now()
	require.Greater(t, c.now(), before, "but there is order")
	require.True(t, c.clock.AfterFunc(0, func() { t.Error("that time never comes") })())
}
