package replay

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// apart tells what missed from what hit. Reading the clock around each operation
// would cost as much as many a hit, so two passes share the work: the first, of
// which no time is kept, finds out which mallocs miss; in the second, which is the
// one that all figures are of, the clock is read around just those. What is left
// of its wall time the hits and the frees took, with all that a miss does to
// caches and to whoever comes after it.
type apart struct {
	missed []bool          // by step; nil: not known
	times  []time.Duration // of those that missed
}

// scout plays the plan on a runtime of its own and notes which steps missed. The
// recorded order gives the same misses each time.
func scout(ctx context.Context, dev metal.Device, h *torch.History, p plan, opts []allocator.Option) (missed []bool, err error) {
	pl, err := newPlayer(Config{}, dev, h, p, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, pl.close(context.WithoutCancel(ctx))) }()
	missed = make([]bool, len(p.ops))
	var before int64
	for i := range p.ops {
		o := &p.ops[i]
		pl.lag.moveTo(o.event)
		if err := pl.do(ctx, o); err != nil {
			return nil, at(h, o, err)
		}
		if o.kind == malloc {
			now := pl.runtime.Snapshot().Total.Misses
			missed[i], before = now > before, now
		}
	}
	return missed, nil
}

// step does what may have to be timed.
func (pl *player) step(ctx context.Context, i int, o *op) error {
	if pl.apart.missed == nil || !pl.apart.missed[i] {
		return pl.do(ctx, o)
	}
	began := time.Now()
	err := pl.do(ctx, o)
	pl.apart.times = append(pl.apart.times, time.Since(began))
	return err
}

// fill works the split out. Should another number have missed than foreseen, it
// stays empty: misses among the hits would make those look slow.
func (a *apart) fill(r *Result, modelled bool) {
	if a.missed == nil || int64(len(a.times)) != r.Misses {
		return
	}
	var sum int64
	for _, t := range a.times {
		sum += t.Nanoseconds()
	}
	r.HitsNSPerOp = quotient(r.WallNS-sum, int64(r.Mallocs)+int64(r.Frees)-r.Misses)
	if len(a.times) == 0 {
		return
	}
	slices.Sort(a.times)
	n := len(a.times)
	r.MissP50NS = (a.times[(n-1)/2] + a.times[n/2]).Nanoseconds() / 2
	if modelled {
		sum += r.DriverNS // as if the calls had taken it
	}
	r.DriverShare = min(1, quotient(r.DriverNS, sum))
}
