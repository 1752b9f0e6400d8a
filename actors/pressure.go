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
	stop  func() // nil: nothing is watched
	going atomic.Bool
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

// pressure is called by the device, on a goroutine of its own, and again while
// the pressure lasts.
func (c *Core) pressure(l metal.Level) {
	if l == metal.Normal || !c.relief.going.CompareAndSwap(false, true) {
		return
	}
	c.background(func() {
		defer c.relief.going.Store(false)
		need := int64(everything)
		if l == metal.Warn {
			need = c.ledger.read(nil).Cache / 2
		}
		s := c.awaitSweep(c.holders(false), sweepPages, need)
		c.log.Info("gave caches back: the system runs short of memory",
			zap.Stringer("level", l), zap.Int64("released", s.released))
	})
}
