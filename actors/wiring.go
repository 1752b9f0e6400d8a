package actors

import (
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/metal"
)

// wiring keeps memory resident up to the wired limit, as MLX does: what is taken
// while there is room is wired, cached memory stays wired, released memory is
// unwired. Sizes are noted when wired, not read back, so that the total can't
// drift (ml-explore/mlx: mlx/backend/metal/resident.h). It belongs to the metal
// actor; the limit and the total are read from elsewhere too.
type wiring struct {
	dev   metal.Wirer // nil: the device can't
	limit atomic.Int64
	total atomic.Int64
	units map[uintptr]unit // pages or segments in use, by address
}

type unit struct {
	size  int64
	wired bool
}

func (w *wiring) open(dev metal.Device) {
	if w.dev, _ = dev.(metal.Wirer); w.dev != nil {
		w.units = map[uintptr]unit{}
	}
}

// unitSize is what is wired as one piece of a range of n bytes.
func (m *metalActor) unitSize(n int64) int64 {
	if m.pager != nil {
		return m.core.info.PageSize
	}
	return n
}

// wire notes memory that came into use, and wires what fits. A malloc never
// fails for wiring.
func (m *metalActor) wire(addr uintptr, n int64) {
	w := &m.wiring
	if w.dev == nil {
		return
	}
	for size := m.unitSize(n); n > 0; n -= size {
		w.units[addr] = unit{size: size}
		if err := m.wireUnit(addr); err != nil {
			m.core.log.Warn("system refuses to wire memory", zap.Error(err))
		}
		addr += uintptr(size)
	}
}

func (m *metalActor) wireUnit(addr uintptr) error {
	w := &m.wiring
	u := w.units[addr]
	if u.wired || w.total.Load()+u.size > w.limit.Load() {
		return nil
	}
	if err := m.timed(callWire, func() error { return w.dev.Wire(addr, u.size) }); err != nil {
		return err
	}
	w.total.Add(u.size)
	w.units[addr] = unit{u.size, true}
	return nil
}

// unwire forgets memory that goes out of use.
func (m *metalActor) unwire(addr uintptr, n int64) {
	w := &m.wiring
	if w.dev == nil {
		return
	}
	for size := m.unitSize(n); n > 0; n -= size {
		m.unwireUnit(addr)
		delete(w.units, addr)
		addr += uintptr(size)
	}
}

func (m *metalActor) unwireUnit(addr uintptr) {
	w := &m.wiring
	u := w.units[addr]
	if !u.wired {
		return
	}
	if err := m.timed(callUnwire, func() error { return w.dev.Unwire(addr, u.size) }); err != nil {
		m.core.log.Error("system would not unwire memory", zap.Error(err))
	}
	w.total.Add(-u.size)
	w.units[addr] = unit{size: u.size}
}

// setWiredLimit wires what exists and fits, or unwires what doesn't any more. If
// the system refuses, or the device panics, the limit is the old one and nothing
// more is wired than before.
func (m *metalActor) setWiredLimit(n int64) (previous int64, err error) {
	w := &m.wiring
	previous = w.limit.Load()
	switch {
	case n == DefaultLimit:
		n = 0
	case n < 0:
		return previous, fmt.Errorf("wired limit %d: %w: expected bytes ≥ 0 or DefaultLimit", n, ErrInvalidSize)
	case n > m.core.info.WorkingSet:
		return previous, fmt.Errorf("wired limit %d: %w: over the working set of %d bytes",
			n, ErrInvalidSize, m.core.info.WorkingSet)
	case w.dev == nil && n != 0:
		return previous, fmt.Errorf("wired limit %d: device %q can't keep memory resident: %w",
			n, m.core.info.Name, ErrUnsupported)
	}
	w.limit.Store(n)
	var fresh []uintptr
	done := false
	defer func() {
		if !done {
			w.limit.Store(previous)
			for _, a := range fresh {
				m.unwireUnit(a)
			}
		}
	}()
	for addr, u := range w.units {
		switch {
		case w.total.Load() > n:
			m.unwireUnit(addr)
		case !u.wired && n > previous:
			if err := m.wireUnit(addr); err != nil {
				return previous, err
			}
			fresh = append(fresh, addr)
		}
	}
	done = true
	return previous, nil
}
