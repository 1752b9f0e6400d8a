package actors_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// tight opens a runtime that refuses to hold more than so many pages.
func tight(t *testing.T, dev metal.Device, pages int64) (*actors.Core, *metal.VirtualClock) {
	cfg := defaults()
	clock := new(metal.VirtualClock)
	cfg.MemoryLimit, cfg.Policy, cfg.Clock = pages*page, actors.Refuse, clock
	return start(t, dev, cfg), clock
}

func named(t *testing.T, c *actors.Core, name string, q *metal.SoftQueue) *actors.Stream {
	cfg := actors.StreamConfig{Name: name}
	if q != nil {
		cfg.Queue = q.Handle()
	}
	return newStream(t, c, cfg)
}

func queue(t *testing.T, dev metal.SoftQueuer) *metal.SoftQueue {
	t.Helper()
	q, err := dev.NewQueue()
	require.NoError(t, err)
	t.Cleanup(q.CompleteAll) // before the runtime closes
	return q
}

// refusedBy gives the error of a malloc that must be refused.
func refusedBy(t *testing.T, s *actors.Stream, n int64, why error) *actors.AllocError {
	t.Helper()
	_, err := s.Malloc(ctx, n)
	require.ErrorIs(t, err, why)
	var e *actors.AllocError
	require.ErrorAs(t, err, &e)
	require.NotNil(t, e.Shortage)
	require.Equal(t, e.Shortage.Reserved, e.Shortage.Active+e.Shortage.Cache+e.Shortage.Slack)
	for _, h := range e.Shortage.Held {
		require.Equal(t, h.Cache+h.Slack, h.Queued+h.Shared+h.Claimed+h.Free, "every free byte has a reason: %+v", h)
	}
	return e
}

func freeAll(t *testing.T, bs ...actors.Buffer) {
	t.Helper()
	require.NoError(t, actors.FreeAll(bs))
}

// The whole text, with several reasons in it.
func TestShortageReadsWell(t *testing.T) {
	dev := simDevice(t)
	c, _ := tight(t, dev, 20)
	q := queue(t, dev)
	decode, encode, load := named(t, c, "decode", q), named(t, c, "encode", nil), named(t, c, "load", nil)
	big, big2, half, half2 := malloc(t, decode, 4*page), malloc(t, decode, 4*page), malloc(t, decode, page/2), malloc(t, decode, page/2)
	queued := malloc(t, decode, 2*page)
	q.Submit()
	freeAll(t, half2, queued)
	held, idle := malloc(t, encode, 5*page), malloc(t, encode, page)
	freeAll(t, idle)
	e := refusedBy(t, load, 5*page, actors.ErrLimitExceeded)
	require.Equal(t, `malloc of 10485760 bytes (10 MiB) on stream "load" (simulated device): limit exceeded: `+
		`8 MiB more would pass the memory limit of 40 MiB by 2 MiB: reserved 34 MiB = active 27 MiB + cache 7 MiB + slack 0 B
  "decode": active 17 MiB in 3 buffers, the largest 2 × 8 MiB, 1 MiB; cache 5 MiB + slack 0 B: 4 MiB that queued work may still use, 1 MiB on pages that live buffers hold
  "encode": active 10 MiB in 1 buffer, the largest 10 MiB
  "load": active 0 B
  2 MiB: free pages gathered for this malloc, in vain`, e.Error())
	freeAll(t, big, big2, half, held)
	q.CompleteAll()
}

// Each reason that keeps free bytes from serving.
func TestWhatKeepsFreeBytes(t *testing.T) {
	asked := func(t *testing.T, c *actors.Core) *actors.Shortage {
		return refusedBy(t, named(t, c, "asked", nil), 16*page, actors.ErrLimitExceeded).Shortage
	}
	t.Run("pending blocks", func(t *testing.T) {
		dev := simDevice(t)
		c, _ := tight(t, dev, 16)
		q := queue(t, dev)
		s, user := named(t, c, "s", nil), named(t, c, "user", q)
		b := malloc(t, s, 3*page)
		q.Submit()
		require.NoError(t, b.RecordUse(user))
		freeAll(t, b)
		require.EqualValues(t, 3*page, asked(t, c).Held[0].Queued)
		q.CompleteAll()
		freeAll(t, malloc(t, s, 16*page)) // now it serves
	})
	t.Run("the own queue", func(t *testing.T) {
		dev := simDevice(t)
		c, _ := tight(t, dev, 16)
		q := queue(t, dev)
		s := named(t, c, "s", q)
		b := malloc(t, s, 3*page)
		q.Submit()
		freeAll(t, b)
		require.EqualValues(t, 3*page, asked(t, c).Held[0].Queued)
		q.CompleteAll()
	})
	t.Run("shared pages", func(t *testing.T) {
		c, _ := tight(t, simDevice(t), 16)
		s := named(t, c, "s", nil)
		small := malloc(t, s, 512)
		h := asked(t, c).Held[0]
		require.Equal(t, [3]int64{page - 512, page - 512, 0}, [3]int64{h.Slack, h.Shared, h.Large})
		freeAll(t, small)
	})
	t.Run("a large page", func(t *testing.T) {
		c, _ := tight(t, largePages{simDevice(t)}, 16)
		s := named(t, c, "s", nil)
		freeAll(t, malloc(t, s, 8*page))
		small := malloc(t, s, 2*page)
		h := asked(t, c).Held[0]
		require.Equal(t, [2]int64{6 * page, 6 * page}, [2]int64{h.Shared, h.Large})
		require.Contains(t, h.String(), "12 MiB on pages that live buffers hold (12 MiB of it on large pages)")
		freeAll(t, small)
	})
	t.Run("a closed stream's buffers", func(t *testing.T) {
		c, _ := tight(t, simDevice(t), 16)
		s := named(t, c, "s", nil)
		b := malloc(t, s, 3*page)
		require.NoError(t, s.Close(ctx))
		h := asked(t, c).Held[0]
		require.True(t, h.Closed)
		require.EqualValues(t, 3*page, h.Active)
		require.Equal(t, `"s", closed: active 6 MiB in 1 buffer, the largest 6 MiB`, h.String())
		freeAll(t, b)
	})
	t.Run("its own place", func(t *testing.T) {
		c, _ := tight(t, simDevice(t), 16)
		s := named(t, c, "s", nil)
		freeAll(t, malloc(t, s, 3*page))
		h := refusedBy(t, s, 17*page, actors.ErrLimitExceeded).Shortage.Held[0]
		require.Equal(t, [2]int64{3 * page, 3 * page}, [2]int64{h.Cache, h.Claimed})
		require.True(t, h.Asked)
	})
}

// largePages is worth large handles.
type largePages struct{ *sim.Device }

func (d largePages) Info() metal.Info {
	i := d.Device.Info()
	i.HandleSize = 8 * page
	return i
}

// A stream's own limit concerns it alone.
func TestShortageOfOneStream(t *testing.T) {
	c, _ := tight(t, simDevice(t), 16)
	s, err := c.NewStream(actors.StreamConfig{Name: "s", Limits: &actors.StreamLimits{Memory: 4 * page, Cache: actors.NoLimit}})
	require.NoError(t, err)
	other := named(t, c, "other", nil)
	x, y := malloc(t, other, 2*page), malloc(t, s, 3*page)
	short := refusedBy(t, s, 2*page, actors.ErrLimitExceeded).Shortage
	require.Equal(t, [4]int64{4 * page, page, 2 * page, 3 * page}, [4]int64{short.Limit, short.Over, short.Need, short.Reserved})
	require.Len(t, short.Held, 1)
	require.Equal(t, "s", short.Held[0].Stream)
	freeAll(t, x, y)
}

func TestShortageOfTheDevice(t *testing.T) {
	dev, err := sim.New(sim.Config{Memory: 8 * page})
	require.NoError(t, err)
	cfg := defaults()
	cfg.MemoryLimit = actors.NoLimit
	c := start(t, dev, cfg)
	s := named(t, c, "s", nil)
	x := malloc(t, s, 6*page)
	short := refusedBy(t, s, 3*page, actors.ErrOutOfMemory).Shortage
	require.Equal(t, [3]int64{0, 3 * page, 6 * page}, [3]int64{short.Over, short.Need, short.Reserved})
	require.Len(t, short.Held, 1)
	freeAll(t, x)
}

// Call sites are told where they are tracked.
func TestShortageNamesCallSites(t *testing.T) {
	c, _ := tight(t, simDevice(t), 4)
	defer c.TrackCallSites()()
	s := named(t, c, "s", nil)
	var bs []actors.Buffer
	for range 2 {
		b, err := s.Malloc(ctx, page)
		require.NoError(t, err)
		bs = append(bs, b)
	}
	bs = append(bs, malloc(t, s, page))
	h := refusedBy(t, s, 4*page, actors.ErrLimitExceeded).Shortage.Held[0]
	require.Len(t, h.Largest, 2, "of one size, from two places")
	require.Equal(t, []int{2, 1}, []int{h.Largest[0].Count, h.Largest[1].Count})
	require.Regexp(t, `the largest 2 × 2 MiB \(actors/shortage_test.go:\d+\), 2 MiB \(actors/helpers_test.go:\d+\)`, h.String())
	freeAll(t, bs...)
}

// Of many streams the largest are asked, and of many buffers the largest told.
func TestShortageIsBounded(t *testing.T) {
	c, _ := tight(t, simDevice(t), 100)
	var bs []actors.Buffer
	for i := range int64(20) {
		s := named(t, c, fmt.Sprint(i), nil)
		for n := range i%5 + 1 {
			bs = append(bs, malloc(t, s, (n+1)*page/2))
		}
	}
	short := refusedBy(t, named(t, c, "asked", nil), 100*page, actors.ErrLimitExceeded).Shortage
	require.Len(t, short.Held, 16)
	require.Equal(t, 5, short.Others)
	var sum int64
	for _, h := range short.Held {
		sum += h.Active + h.Cache + h.Slack
		require.LessOrEqual(t, len(h.Largest), 3)
	}
	require.Equal(t, short.Reserved, sum+short.OthersHold)
	require.EqualValues(t, 5*page/2, short.Held[0].Largest[0].Size)
	require.EqualValues(t, 3*page/2, short.Held[0].Largest[2].Size)
	freeAll(t, bs...)
}

// What holds the memory is told once, and again when it may have changed.
func TestHoldersAreToldOnce(t *testing.T) {
	c, clock := tight(t, simDevice(t), 8)
	s := named(t, c, "s", nil)
	x := malloc(t, s, 3*page)
	told := func() bool {
		e := refusedBy(t, s, 7*page, actors.ErrLimitExceeded)
		require.Equal(t, e.Shortage.Held != nil, e.Holders != "")
		return e.Holders != ""
	}
	require.True(t, told())
	require.False(t, told())
	y := malloc(t, s, 2*page)
	require.True(t, told(), "more is reserved")
	require.False(t, told())
	clock.Advance(time.Second)
	require.True(t, told(), "a second later")
	freeAll(t, x, y)
}

// For a caller who has gone nobody is asked: the next who is refused is told all.
func TestNobodyIsAskedForNobody(t *testing.T) {
	sys := quietSystem(t)
	cfg := defaults()
	cfg.MemoryLimit, cfg.Policy, cfg.Clock, cfg.System = 4*page, actors.Refuse, new(metal.VirtualClock), sys
	c := start(t, simDevice(t), cfg)
	s := named(t, c, "s", nil)
	freeAll(t, malloc(t, named(t, c, "other", nil), page))
	sys.Root.Send(s.PID(), actors.Malloc{Size: 6 * page})                  // without a sender
	eventually(t, func() bool { return c.Snapshot().Total.Reserved == 0 }) // it has taken the page, and was refused
	require.NotEmpty(t, refusedBy(t, s, 5*page, actors.ErrLimitExceeded).Holders)
}

// With policy Refuse free pages serve wherever they lie: before a refusal every
// stream has been asked, and none of them keeps a page that could be given up.
func TestNoFreePageIsLeftAtARefusal(t *testing.T) {
	for seed := range uint64(30) {
		dev := simDevice(t)
		c, clock := tight(t, dev, 24)
		rng := rand.New(rand.NewPCG(seed, 0))
		var ss []*actors.Stream
		var qs []*metal.SoftQueue
		for i := range 4 {
			qs = append(qs, queue(t, dev))
			ss = append(ss, named(t, c, fmt.Sprint(i), []*metal.SoftQueue{nil, qs[i]}[i%2]))
		}
		var live []actors.Buffer
		refusals := 0
		for range 400 {
			i := rng.IntN(len(ss))
			switch k := rng.IntN(10); {
			case k < 5:
				b, err := ss[i].Malloc(ctx, 1+rng.Int64N(6*page))
				if err == nil {
					live = append(live, b)
					continue
				}
				refusals++
				clock.Advance(time.Second)
				requireNoneFree(t, err)
			case k < 8 && len(live) > 0:
				n := rng.IntN(len(live))
				freeAll(t, live[n])
				live = append(live[:n], live[n+1:]...)
			case k == 8:
				qs[i].Submit()
			default:
				qs[i].CompleteAll()
			}
		}
		require.Positive(t, refusals)
		freeAll(t, live...)
	}
}

func requireNoneFree(t *testing.T, err error) {
	t.Helper()
	var e *actors.AllocError
	require.ErrorAs(t, err, &e)
	require.ErrorIs(t, err, actors.ErrLimitExceeded)
	s := e.Shortage
	require.Equal(t, s.Limit+s.Over, s.Reserved+s.Need, "nothing else counts against the limit")
	require.Positive(t, s.Over)
	require.NotEmpty(t, s.Held)
	for _, h := range s.Held {
		require.Zero(t, h.Free, "%v", err)
	}
}

// What is reserved, and not a byte more, is enough for a malloc that needs every
// stream's free pages: they move.
func TestEveryStreamIsAskedBeforeARefusal(t *testing.T) {
	dev := simDevice(t)
	c, _ := tight(t, dev, 40)
	var bs []actors.Buffer
	for i := range int64(8) {
		s := named(t, c, fmt.Sprint(i), nil)
		bs = append(bs, malloc(t, s, (i+1)*page))
	}
	last := named(t, c, "last", nil)
	rest := malloc(t, last, 4*page)
	freeAll(t, bs...)
	creates := dev.Calls()[sim.CallCreate]
	within(t, func() {
		b, err := last.Malloc(context.Background(), 36*page)
		require.NoError(t, err)
		freeAll(t, b, rest)
	})
	require.Equal(t, creates, dev.Calls()[sim.CallCreate])
	require.Zero(t, dev.Calls()[sim.CallRelease])
}
