package actors

import (
	"errors"
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/metal"
)

// relief gives caches back when the device's system runs short: half of them at
// the first sign, all when it is critical.
type relief struct {
	stop  func()       // nil: nothing is watched
	going atomic.Bool  // caches are being given back
	level atomic.Int32 // the worst metal.Level told since that began
}

// watchPressure starts listening to the device.
func (c *Core) watchPressure() error {
	p, ok := c.dev.(metal.Pressurer)
	if !ok {
		return fmt.Errorf("reclaim on pressure: %w: device %q doesn't report any", ErrUnsupported, c.info.Name)
	}
	stop, err := p.WatchPressure(c.pressure)
	if errors.Is(err, ErrUnsupported) {
		return fmt.Errorf("reclaim on pressure: %w", err)
	}
	c.relief.stop = stop
	return err
}

// pressure is called by the device, on a goroutine of its own. What it tells
// while caches are being given back is heeded after that.
func (c *Core) pressure(l metal.Level) {
	r := &c.relief
	for {
		worst := r.level.Load()
		if int32(l) <= worst || r.level.CompareAndSwap(worst, int32(l)) {
			break
		}
	}
	if l == metal.Normal || !r.going.CompareAndSwap(false, true) {
		return
	}
	c.background(func() {
		for {
			for l := r.level.Swap(0); l != 0; l = r.level.Swap(0) {
				c.relieve(metal.Level(l))
			}
			r.going.Store(false)
			if r.level.Load() == 0 || !r.going.CompareAndSwap(false, true) {
				return
			}
		}
	})
}

func (c *Core) relieve(l metal.Level) {
	need := int64(everything)
	if l == metal.Warn {
		need = c.ledger.Totals().Cache / 2
	}
	s := c.awaitSweep(c.holders(false), sweepPages, need)
	c.log.Info("gave caches back: the system runs short of memory",
		zap.Stringer("level", l), zap.Int64("released", s.released))
}

// maxPresses bounds how many rounds of asking go on at a time: a hook whose own
// malloc is refused asks for another round, which asks that hook, …
const maxPresses = 16

// mayPress says whether the program is asked before the ticket is refused.
func (t *ticket) mayPress() bool {
	c := t.core
	return len(c.hooks) > 0 && !t.pressed && t.state.Load() == waiting && !c.closing.Load() &&
		c.pressing.Load() < maxPresses &&
		(errors.Is(t.err, ErrLimitExceeded) || errors.Is(t.err, ErrOutOfMemory))
}

// press asks the program to drop what it can do without, outside any turn, and
// starts over.
func (t *ticket) press() {
	t.stage, t.pressed = look, true
	t.asked, t.askedOwn, t.swept = false, false, false
	c := t.core
	c.pressing.Add(1)
	c.seam.Go(func() {
		defer t.hop(true) // also when a hook ends its goroutine
		defer c.pressing.Add(-1)
		need := t.total() - t.grow.size
		for _, f := range c.hooks {
			if need -= c.ask(f, need); need <= 0 {
				return
			}
		}
	})
}

// ask calls one hook. What it does is the program's, but a panic there must not
// end the process: whoever made the malloc could not catch it.
func (c *Core) ask(f func(int64) int64, need int64) (freed int64) {
	defer func() {
		if v := recover(); v != nil {
			c.log.Error("pressure hook panicked", zap.Any("panic", v), zap.Stack("stack"))
			freed = 0
		}
	}()
	return max(0, f(need))
}
