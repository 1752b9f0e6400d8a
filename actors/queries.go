package actors

import (
	"go.uber.org/zap"

	"github.com/metalloc/metalloc/telemetry"
)

// The runtime's queries and limits as methods; each is the message of the same
// name, handled by the same code.

// SupervisorPID is the supervisor's actor.
func (c *Core) SupervisorPID() *PID { return c.sup.pid }

// ActiveMemory is the bytes in live buffers now. Like every query it is a
// message to the supervisor, true at one instant between call and return, and
// never waits for a device.
func (c *Core) ActiveMemory() int64 {
	return c.sup.figure(nil, func(k *call) { k.result = k.at.core.ledger.Active() })
}

// PeakMemory is the highest ActiveMemory since start or ResetPeakMemory.
func (c *Core) PeakMemory() int64 {
	return c.sup.figure(nil, func(k *call) { k.result = k.at.core.ledger.Totals().Peak })
}

// CacheMemory is the bytes freed and kept for reuse.
func (c *Core) CacheMemory() int64 {
	return c.sup.figure(nil, func(k *call) { k.result = k.at.core.ledger.Totals().Cache })
}

// ReservedMemory is the bytes taken from the device.
func (c *Core) ReservedMemory() int64 {
	return c.sup.figure(nil, func(k *call) { k.result = k.at.core.ledger.Totals().Reserved })
}

// MemoryLimit is the memory limit in force, bytes.
func (c *Core) MemoryLimit() int64 {
	return c.sup.figure(nil, func(k *call) { k.result, _ = k.at.core.ledger.Limits() })
}

// CacheLimit is the cache limit in force, bytes.
func (c *Core) CacheLimit() int64 {
	return c.sup.figure(nil, func(k *call) { _, k.result = k.at.core.ledger.Limits() })
}

// WiredLimit is the wired limit in force, bytes.
func (c *Core) WiredLimit() int64 { return c.metal.wiring.limit.Load() }

// ResetPeakMemory sets the peak to 0; it follows active from the next malloc on.
// Streams keep their own peaks.
func (c *Core) ResetPeakMemory() {
	k := c.newCall(func(k *call) { k.at.core.ledger.ResetPeak() })
	c.sup.do(k)
	c.freeCall(k)
}

// Snapshot is one consistent picture of totals, streams, limits and device.
func (c *Core) Snapshot() telemetry.Snapshot {
	var s telemetry.Snapshot
	k := c.newCall(func(k *call) { s = k.at.core.picture() })
	defer c.freeCall(k)
	c.sup.do(k)
	return s
}

// picture is taken in the supervisor's turn.
func (c *Core) picture() (s telemetry.Snapshot) {
	s.Total, s.Streams, s.Limits = c.ledger.Snapshot()
	s.Limits.Wired = c.metal.wiring.limit.Load()
	s.Device = c.metal.telemetry()
	return s
}

// SetMemoryLimit bounds reserved, bytes; NoLimit and DefaultLimit are limits
// too. Lowering gives caches back to the device before it returns; what is in
// use stays, and a warning is logged when that is over the limit. It returns the
// limit before. ErrInvalidSize for a negative size; nothing is changed then.
func (c *Core) SetMemoryLimit(n int64) (previous int64, err error) {
	return c.setLimit(func(k *call) { k.result, k.n, k.err = k.at.core.sup.setMemoryLimit(k.n) }, n, sweepPages)
}

// SetCacheLimit bounds the cache, bytes; 0 gives freed memory back at once.
// Lowering trims before it returns. It returns the limit before.
func (c *Core) SetCacheLimit(n int64) (previous int64, err error) {
	return c.setLimit(func(k *call) { k.result, k.n, k.err = k.at.core.sup.setCacheLimit(k.n) }, n, sweepCache)
}

func (c *Core) setLimit(set func(*call), n int64, kind sweepKind) (previous int64, err error) {
	k := c.newCall(set)
	k.n = n
	c.sup.do(k)
	previous, over, err := k.result, k.n, k.err
	c.freeCall(k)
	if err == nil && over > 0 {
		c.awaitSweep(c.holders(false), kind, over)
		c.warnOver()
	}
	return previous, err
}

// holders asks the supervisor for its streams.
func (c *Core) holders(all bool) []*Stream {
	var ss []*Stream
	k := c.newCall(func(k *call) { ss = k.at.core.sup.byCache(all) })
	defer c.freeCall(k)
	c.sup.do(k)
	return ss
}

// warnOver tells when a lowered memory limit can't be kept yet.
func (c *Core) warnOver() {
	limit, _ := c.ledger.Limits()
	if f := c.ledger.Totals(); f.Reserved > limit {
		c.log.Warn("reserved is over the memory limit: what is in use can't be given back",
			zap.Int64("reserved", f.Reserved), zap.Int64("limit", limit), zap.Int64("active", f.Active))
	}
}

func (p *supervisor) setMemoryLimit(n int64) (previous, over int64, err error) {
	i := p.core.info
	n, err = resolve("memory limit", n, defaultMemoryLimit(i))
	if err != nil {
		previous, _ = p.core.ledger.Limits()
		return previous, 0, err
	}
	previous, over = p.core.ledger.SetMemoryLimit(n, reclaimThreshold(i, n))
	return previous, over, nil
}

func (p *supervisor) setCacheLimit(n int64) (previous, over int64, err error) {
	memory, previous := p.core.ledger.Limits()
	n, err = resolve("cache limit", n, memory)
	if err != nil {
		return previous, 0, err
	}
	previous, over = p.core.ledger.SetCacheLimit(n)
	return previous, over, nil
}

// SetWiredLimit bounds what is kept resident, bytes; 0 nothing. Raising wires
// what exists and fits, lowering unwires. It waits for the device. Over the
// working set: ErrInvalidSize; a device that can't wire: ErrUnsupported; a
// system that refuses: ErrLimitExceeded. Nothing is changed then.
func (c *Core) SetWiredLimit(n int64) (previous int64, err error) {
	k := c.onMetal(func(k *call) { k.result, k.err = c.metal.setWiredLimit(n) })
	return k.result, k.err
}

// ClearCache gives everything reusable back to the device and returns how many
// bytes went. Blocks that queued work may still use follow when their marks are
// reached.
func (c *Core) ClearCache() (released int64, err error) {
	return c.awaitSweep(c.holders(false), sweepClear, everything).released, nil
}

// onMetal runs f on the metal actor and returns when it has run.
func (c *Core) onMetal(f func(*call)) *call {
	k := &call{gate: c.seam.NewGate(), f: f}
	k.self = k
	c.metal.send(k, true)
	k.gate.Wait()
	return k
}
