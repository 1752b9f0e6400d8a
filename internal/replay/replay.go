// Package replay plays a recorded allocation history through metalloc, in the
// recorded order and as fast as it goes.
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

// Run replays h on dev through a runtime of its own, opened with opts, and gives
// all memory back before it returns. dev stays the caller's to close. A history
// in which frees complete late needs a device with soft queues
// ([metal.SoftQueuer]), otherwise ErrUnsupported.
//
// An error ends the replay at once and there is no result; it says at which
// event. ctx ends it at the next malloc that would wait.
func Run(ctx context.Context, dev metal.Device, h *torch.History, opts ...allocator.Option) (result *Result, err error) {
	p := newPlan(h)
	result = new(Result)
	result.fromFile(h, p)

	pl, err := newPlayer(dev, h, p, opts)
	if err != nil {
		return nil, err
	}
	defer func() {
		// Cancelled or not, the memory goes back.
		if e := pl.close(context.WithoutCancel(ctx)); err == nil && e != nil {
			result, err = nil, fmt.Errorf("after the last event: %w", e)
		}
	}()

	runtime.GC() // what reading the file left behind is not to be collected while the clock runs
	start := time.Now()
	n, err := pl.play(ctx, p.ops)
	wall := time.Since(start)
	if err != nil {
		return nil, failure(h, p.ops[n], err)
	}
	result.fromRuntime(pl.runtime.Snapshot(), pl.names, wall.Nanoseconds())
	return result, nil
}

// player is a runtime set up for one plan.
type player struct {
	runtime *allocator.Runtime
	streams []*allocator.Stream // as the history's
	names   []string            // theirs in the runtime
	sides   []side
	buffers []allocator.Buffer // by block; zero: not allocated yet, or freed
}

// side is a stream whose work this program pretends to do.
type side struct {
	stream *allocator.Stream
	queue  *metal.SoftQueue
}

func newPlayer(dev metal.Device, h *torch.History, p plan, opts []allocator.Option) (*player, error) {
	rt, err := allocator.Open(dev, opts...)
	if err != nil {
		return nil, err
	}
	pl := &player{runtime: rt, buffers: make([]allocator.Buffer, h.Mallocs)}
	if err := pl.openStreams(dev, h.Streams, p.sides); err != nil {
		_ = pl.close(context.Background()) // it holds nothing yet
		return nil, err
	}
	return pl, nil
}

func (pl *player) openStreams(dev metal.Device, handles []uint64, sides int) error {
	for _, handle := range handles {
		name := fmt.Sprintf("stream-%d", handle)
		s, err := pl.runtime.NewStream(allocator.WithName(name))
		if err != nil {
			return err
		}
		pl.streams, pl.names = append(pl.streams, s), append(pl.names, name)
	}
	if sides == 0 {
		return nil
	}
	queues, ok := dev.(metal.SoftQueuer)
	if !ok {
		return fmt.Errorf("replay a history with late frees on %s, which has no soft queues: %w", dev.Info().Kind, allocator.ErrUnsupported)
	}
	for i := range sides {
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

// play does the steps, in order. n is how many were done.
func (pl *player) play(ctx context.Context, ops []op) (n int, err error) {
	for i := range ops {
		o := &ops[i]
		switch o.kind {
		case malloc:
			pl.buffers[o.block], err = pl.streams[o.stream].Malloc(ctx, o.size)
		case free:
			err = pl.free(o.block)
		case freeUsed:
			s := &pl.sides[o.stream]
			s.queue.Submit()
			if err = pl.buffers[o.block].RecordUse(s.stream); err == nil {
				err = pl.free(o.block)
			}
		case complete:
			pl.sides[o.stream].queue.CompleteAll() // a side stream has one block at a time
		}
		if err != nil {
			return i, err
		}
	}
	return len(ops), nil
}

func (pl *player) free(block int32) error {
	b := pl.buffers[block]
	pl.buffers[block] = allocator.Buffer{}
	return b.Free()
}

// close frees what is live and ends the runtime.
func (pl *player) close(ctx context.Context) error {
	live := slices.DeleteFunc(pl.buffers, func(b allocator.Buffer) bool { return b == allocator.Buffer{} })
	err := allocator.FreeAll(live)
	for _, s := range pl.sides {
		s.queue.CompleteAll()
	}
	return cmp.Or(err, pl.runtime.Close(ctx))
}

// failure says at which event a step failed.
func failure(h *torch.History, o op, err error) error {
	action := torch.FreeRequested
	if o.kind == malloc {
		action = torch.Alloc
	}
	i := slices.IndexFunc(h.Events, func(e torch.Event) bool { return e.Block == o.block && e.Action == action })
	return fmt.Errorf("event %d (%s of %d bytes): %w", i, action, h.Events[i].Size, err)
}
