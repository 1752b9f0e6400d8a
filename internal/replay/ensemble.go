package replay

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/metalloc/metalloc/telemetry/torch"
)

// ensemble plays a plan with a goroutine for each stream of the history. What
// belongs to a block is done by that of the stream its event names, mostly the
// block's own. Where it is another, the block's stream waits in its place in the
// order, so that both streams see all their events as recorded.
type ensemble struct {
	*player
	parts   [][]int32 // by stream: indexes of its ops, in order
	playing []int32   // by op: the stream whose goroutine does it
	pace    *pace
}

func newEnsemble(pl *player, h *torch.History, window int) *ensemble {
	e := &ensemble{
		player:  pl,
		parts:   make([][]int32, len(h.Streams)),
		playing: make([]int32, len(pl.plan.ops)),
	}
	for i := range pl.plan.ops {
		o := &pl.plan.ops[i]
		by := h.Events[o.event].Stream
		e.playing[i] = by
		e.parts[by] = append(e.parts[by], int32(i))
		if by != o.stream {
			e.parts[o.stream] = append(e.parts[o.stream], int32(i))
		}
	}
	e.pace = newPace(len(h.Streams), int64(window))
	for stream := range e.parts {
		e.pace.advance(stream, e.next(stream, 0))
	}
	return e
}

// next is the event of a part's step i.
func (e *ensemble) next(stream, i int) int64 {
	if i == len(e.parts[stream]) {
		return finished
	}
	return int64(e.plan.ops[e.parts[stream][i]].event)
}

// play ends with the first error of any goroutine, and the step it came from.
func (e *ensemble) play(ctx context.Context) (failed *op, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	var first sync.Once
	for stream := range e.parts {
		all.Go(func() {
			if o, partErr := e.playPart(ctx, stream); partErr != nil {
				first.Do(func() { failed, err = o, partErr })
				cancel()
			}
		})
	}
	all.Wait()
	return failed, err
}

func (e *ensemble) playPart(ctx context.Context, stream int) (*op, error) {
	for i, index := range e.parts[stream] {
		o := &e.plan.ops[index]
		err := e.pace.keep(ctx, stream)
		if err == nil {
			err = e.take(ctx, stream, int(e.playing[index]), o)
		}
		if err != nil {
			return o, err
		}
		e.pace.advance(stream, e.next(stream, i+1))
		if least := e.pace.least(); least != finished {
			e.lag.moveTo(int32(least))
		}
	}
	return nil, nil
}

// take does a step, or waits until the stream that it is for has done it.
func (e *ensemble) take(ctx context.Context, stream, playing int, o *op) error {
	if playing != stream {
		return e.pace.await(ctx, stream, playing, int64(o.event)+1)
	}
	if int(o.stream) != stream {
		if err := e.pace.await(ctx, stream, int(o.stream), int64(o.event)); err != nil {
			return err
		}
	}
	e.requested.add(o.requests())
	err := e.do(ctx, o)
	e.requested.add(o.returns())
	if err == nil && e.sampler != nil {
		e.sample(o)
	}
	return err
}

// counter is a number and the highest that it was.
type counter struct{ now, peak atomic.Int64 }

func (c *counter) add(n int64) {
	now := c.now.Add(n)
	for peak := c.peak.Load(); now > peak && !c.peak.CompareAndSwap(peak, now); {
		peak = c.peak.Load()
	}
}
