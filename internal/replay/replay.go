// Package replay plays a recorded allocation history through metalloc, as fast
// as it goes: in the recorded order, or with a goroutine for each stream.
//
// Every stream of the history is a stream of the runtime. A block is freed where
// the program freed it (free_requested). Where other events lie between that and
// its free_completed, work on another stream still used it: the replay records a
// use on a side stream just before the free and lets that work be done at
// free_completed, so that nobody gets the block earlier than in the recording.
//
// Not stable: it serves cmd/metalloc and tests.
package replay

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// DefaultWindow is how far apart goroutines may be in the file, in events.
const DefaultWindow = 256

// Config says how to play. The zero value: in the recorded order, without lag.
type Config struct {
	// Concurrent plays each stream of the history on a goroutine of its own. The
	// order within a stream is kept. An event that names another stream than its
	// block's has its place in the order of both.
	Concurrent bool
	// Window, in events, bounds by how much: nothing begins whose place in the
	// history is more than that after the first event not yet done. 0: the recorded
	// order. Counts only with Concurrent.
	Window int

	// Lag is how long after a free the work is done that was queued on the stream
	// before it, so that pages leave the stream no earlier; where the free is
	// completed later than that, then. 0: work is done as soon as it is queued. A
	// history without times can't be played so: ErrUnsupported.
	Lag time.Duration
	// Clock is that of the device's queues. It is moved along the history's times,
	// counted from its first event: to that of the event being played, or, with
	// Concurrent, of the first event not yet done. Needed with Lag, else not used: the
	// runtime then has another one, moved likewise.
	Clock *metal.VirtualClock

	// Apart has hits and misses told apart, by playing the history twice. Not with
	// Concurrent or Lag: ErrUnsupported.
	Apart bool

	// Timeline, if not nil, is filled with memory over time. All figures are then read
	// after each event, which takes longer than most of them: the result's times are
	// no good.
	Timeline *Timeline
}

// Run replays h in the recorded order, without lag; see [Config.Run].
func Run(ctx context.Context, dev metal.Device, h *torch.History, opts ...allocator.Option) (*Result, error) {
	return Config{}.Run(ctx, dev, h, opts...)
}

// Run replays h on dev through a runtime of its own, opened with opts, and gives
// all memory back before it returns. dev stays the caller's to close. A history
// in which frees complete late, or a lag, needs a device with soft queues
// ([metal.SoftQueuer]), otherwise ErrUnsupported.
//
// An error ends the replay at once and there is no result; it says at which
// event. ctx is looked at first, and ends it at the next malloc that would wait;
// with Concurrent, at each goroutine's next event.
func (c Config) Run(ctx context.Context, dev metal.Device, h *torch.History, opts ...allocator.Option) (result *Result, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.check(h); err != nil {
		return nil, err
	}
	p := newPlan(h)
	var missed []bool
	if c.Apart {
		if missed, err = scout(ctx, dev, h, p, opts); err != nil {
			return nil, err
		}
	}
	result = new(Result)
	result.fromFile(h, p)
	result.HandleSize = dev.Info().HandleSize

	pl, err := newPlayer(c, dev, h, p, opts)
	if err != nil {
		return nil, err
	}
	defer func() {
		// Cancelled or not, the memory goes back.
		if e := pl.close(context.WithoutCancel(ctx)); err == nil && e != nil {
			result, err = nil, fmt.Errorf("after the last event: %w", e)
		}
	}()

	pl.apart.missed = missed
	play := pl.play
	if c.Concurrent {
		play = newEnsemble(pl, h, c.Window).play
		result.Concurrent, result.Window = true, c.Window
	}
	result.LagNS = c.Lag.Nanoseconds()
	pl.sampler = newSampler(c.Timeline, h)
	runtime.GC() // what reading the file left behind is not to be collected while the clock runs
	// What a device models runs on from one runtime to the next.
	driverBefore := pl.runtime.Snapshot().Device.DriverNS
	start := time.Now()
	failed, err := play(ctx)
	wall := time.Since(start)
	if err != nil {
		return nil, at(h, failed, err)
	}
	if c.Concurrent {
		result.RequestedPeak = pl.requested.peak.Load()
	}
	result.fromRuntime(pl.runtime.Snapshot(), pl.names, wall.Nanoseconds())
	if pl.sampler != nil {
		pl.sampler.flush(true)
	}
	result.DriverNS -= driverBefore
	result.DriverOfSpan = share(result.DriverNS, result.SpanNS)
	_, modelled := dev.(metal.Modeler)
	pl.apart.fill(result, modelled)
	return result, nil
}

// at says at which event an error came.
func at(h *torch.History, o *op, err error) error {
	e := h.Events[o.event]
	return fmt.Errorf("event %d (%s of %d bytes): %w", o.event, e.Action, e.Size, err)
}

func (c Config) check(h *torch.History) error {
	switch {
	case c.Concurrent && c.Window < 0:
		return fmt.Errorf("window of %d events: want 0 or more: %w", c.Window, allocator.ErrInvalidSize)
	case c.Lag < 0:
		return fmt.Errorf("lag of %v: want 0 or more: %w", c.Lag, allocator.ErrInvalidSize)
	case c.Lag > 0 && c.Clock == nil:
		return fmt.Errorf("lag of %v: want a clock: %w", c.Lag, allocator.ErrUnsupported)
	case c.Apart && (c.Concurrent || c.Lag > 0):
		return fmt.Errorf("tell hits and misses apart with goroutines or a lag: what misses differs from run to run: %w", allocator.ErrUnsupported)
	case c.Lag > 0 && !hasTimes(h):
		return fmt.Errorf("lag of %v: the history has no times (time_us; PyTorch before 2.1 writes none): %w", c.Lag, allocator.ErrUnsupported)
	}
	return nil
}

// player is a runtime set up for one plan.
type player struct {
	plan      plan
	runtime   *allocator.Runtime
	streams   []*allocator.Stream // as the history's
	names     []string            // theirs in the runtime
	sides     []side
	lag       lag
	apart     apart
	buffers   []allocator.Buffer // by block; zero: not allocated yet, or freed
	requested counter            // counted by an ensemble, or for a sampler
	sampler   *sampler
}

// side is a stream whose work this program pretends to do.
type side struct {
	stream *allocator.Stream
	queue  *metal.SoftQueue
}

func newPlayer(c Config, dev metal.Device, h *torch.History, p plan, opts []allocator.Option) (*player, error) {
	clock := fileClock(new(plainClock))
	if c.Lag > 0 {
		clock = c.Clock
	}
	// The runtime lives by the file's time. Idle memory stays, since a clock that the
	// program moves is nobody's to wait for.
	opts = append(opts, allocator.WithClock(clock), allocator.WithIdleRelease(0))
	rt, err := allocator.Open(dev, opts...)
	if err != nil {
		return nil, err
	}
	pl := &player{plan: p, runtime: rt, buffers: make([]allocator.Buffer, h.Mallocs)}
	pl.lag = lag{length: c.Lag, clock: clock, began: clock.Now(), times: timesOf(h)}
	if err := pl.openStreams(dev, h.Streams); err != nil {
		_ = pl.close(context.Background()) // it holds nothing yet
		return nil, err
	}
	return pl, nil
}

func (pl *player) openStreams(dev metal.Device, handles []uint64) error {
	queues, ok := dev.(metal.SoftQueuer)
	if !ok && (pl.plan.sides > 0 || pl.lag.length > 0) {
		return fmt.Errorf("replay a history with late frees, or with a lag, on %s, which has no soft queues: %w",
			dev.Info().Kind, allocator.ErrUnsupported)
	}
	for _, handle := range handles {
		name := fmt.Sprintf("stream-%d", handle)
		opts := []allocator.StreamOption{allocator.WithName(name)}
		if pl.lag.length > 0 {
			q, err := queues.NewQueue()
			if err != nil {
				return err
			}
			pl.lag.queues = append(pl.lag.queues, q)
			opts = append(opts, allocator.WithHandle(q.Handle()))
		}
		s, err := pl.runtime.NewStream(opts...)
		if err != nil {
			return err
		}
		pl.streams, pl.names = append(pl.streams, s), append(pl.names, name)
	}
	for i := range pl.plan.sides {
		q, err := queues.NewQueue()
		if err != nil {
			return err
		}
		s, err := pl.runtime.NewStream(allocator.WithName(fmt.Sprintf("side-%d", i)), allocator.WithHandle(q.Handle()))
		if err != nil {
			return err
		}
		pl.sides = append(pl.sides, side{s, q})
	}
	return nil
}

// play does the steps, in order. With an error comes the step that failed.
func (pl *player) play(ctx context.Context) (*op, error) {
	for i := range pl.plan.ops {
		o := &pl.plan.ops[i]
		pl.lag.moveTo(o.event)
		if err := pl.step(ctx, i, o); err != nil {
			return o, err
		}
		if pl.sampler != nil {
			pl.requested.add(o.requests() + o.returns())
			pl.sample(o)
		}
	}
	return nil, nil
}

// sample notes the state after a step.
func (pl *player) sample(o *op) {
	pl.sampler.note(o.event, pl.requested.now.Load(), pl.runtime.Snapshot().Total)
}

func (pl *player) do(ctx context.Context, o *op) (err error) {
	switch o.kind {
	case malloc:
		pl.buffers[o.block], err = pl.streams[o.stream].Malloc(ctx, o.size)
	case free:
		err = pl.free(o)
	case freeUsed:
		s := &pl.sides[o.side]
		completed, ever := pl.plan.late[o.block]
		if err = pl.lag.submitSide(s.queue, o.event, completed, ever); err != nil {
			return err
		}
		if err = pl.buffers[o.block].RecordUse(s.stream); err == nil {
			err = pl.free(o)
		}
	case complete:
		if pl.lag.length == 0 { // otherwise the clock does it
			pl.sides[o.side].queue.CompleteAll() // a side stream has one block at a time
		}
	}
	return err
}

func (pl *player) free(o *op) error {
	if err := pl.lag.submit(o.stream, o.event); err != nil {
		return err
	}
	b := pl.buffers[o.block]
	pl.buffers[o.block] = allocator.Buffer{}
	return b.Free()
}

// close frees what is live and ends the runtime.
func (pl *player) close(ctx context.Context) error {
	live := slices.DeleteFunc(pl.buffers, func(b allocator.Buffer) bool { return b == allocator.Buffer{} })
	err := allocator.FreeAll(live)
	for _, s := range pl.sides {
		s.queue.CompleteAll()
	}
	for _, q := range pl.lag.queues {
		q.CompleteAll()
	}
	return cmp.Or(err, pl.runtime.Close(ctx))
}
