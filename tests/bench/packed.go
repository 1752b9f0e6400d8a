package bench

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
)

// packed caches per stream, behind a mutex each, in size classes, and counts
// active and peak in one word that all streams share: the plain way to be exact
// without one lock for all.
type packed struct {
	device  *device
	ledger  atomic.Uint64 // active << 32 | peak, units
	_       [15]uint64    // nobody else on the word's cache lines
	limit   uint64        // units
	streams []packedStream
}

type packedStream struct {
	mu    sync.Mutex
	free  [classes]*Block
	cache int64
	_     [16]uint64
}

const (
	unit    = 512 // bytes; 31 bits of them are 1 TiB
	steps   = 8   // classes in an octave: at most 1/8 is wasted
	classes = 64 * steps
)

func openPacked(e *env) (Allocator[*Block], error) {
	dev, err := newDevice(e.hook)
	if err != nil {
		return nil, err
	}
	limit := uint64(dev.sim.Info().Memory/unit) - 1
	return &packed{device: dev, limit: limit, streams: make([]packedStream, e.streams)}, nil
}

// classOf gives a class and the greatest size, in units, that it serves. Sizes of
// up to two octaves of steps have a class each.
func classOf(units uint64) (class int32, size uint64) {
	if units <= 2*steps {
		return int32(units), units
	}
	shift := bits.Len64(units-1) - bits.Len64(steps)
	step := (units-1)>>shift + 1 // steps+1 to 2*steps
	return int32(uint64(shift)*steps + step), step << shift
}

func (p *packed) Malloc(stream int, size int64) (*Block, error) {
	if size <= 0 || size > deviceMemory {
		return nil, fmt.Errorf("%w, not %d", errSize, size)
	}
	class, units := classOf(uint64(size+unit-1) / unit)
	if !p.spend(units) {
		return nil, fmt.Errorf("bench: %d bytes more would pass the limit", size)
	}
	s := &p.streams[stream]
	s.mu.Lock()
	b := s.free[class]
	if b != nil {
		s.free[class], b.next = b.next, nil
		s.cache -= b.size
		b.handedOut = true
	}
	s.mu.Unlock()
	if b != nil {
		return b, nil
	}
	b, err := p.device.alloc(int64(units * unit))
	if err != nil {
		p.giveBack(units)
		return nil, err
	}
	b.stream, b.sizeClass, b.handedOut = int32(stream), class, true
	return b, nil
}

func (p *packed) Free(b *Block) error {
	s := &p.streams[b.stream]
	s.mu.Lock()
	if !b.handedOut {
		s.mu.Unlock()
		return errDoubleFree
	}
	b.handedOut = false
	b.next, s.free[b.sizeClass] = s.free[b.sizeClass], b
	s.cache += b.size
	s.mu.Unlock()
	p.giveBack(uint64(b.size / unit))
	return nil
}

// spend counts units as active; false: the limit doesn't let it.
func (p *packed) spend(units uint64) bool {
	for {
		w := p.ledger.Load()
		active, peak := w>>32+units, w&(1<<32-1)
		if active > p.limit {
			return false
		}
		if p.ledger.CompareAndSwap(w, active<<32|max(active, peak)) {
			return true
		}
	}
}

func (p *packed) giveBack(units uint64) { p.ledger.Add(-(units << 32)) }

func (p *packed) Active() int64 { return int64(p.ledger.Load()>>32) * unit }
func (p *packed) Peak() int64   { return int64(p.ledger.Load()&(1<<32-1)) * unit }
func (p *packed) ResetPeak()    { p.ledger.And(^uint64(1<<32 - 1)) }

func (p *packed) Cache() (sum int64) {
	for i := range p.streams {
		s := &p.streams[i]
		s.mu.Lock()
		sum += s.cache
		s.mu.Unlock()
	}
	return sum
}

func (p *packed) Close() error {
	for i := range p.streams {
		s := &p.streams[i]
		s.mu.Lock()
		for c := range s.free {
			for b := s.free[c]; b != nil; b = b.next {
				p.device.release(b)
			}
			s.free[c] = nil
		}
		s.cache = 0
		s.mu.Unlock()
	}
	var err error
	if n := p.Active(); n != 0 {
		err = fmt.Errorf("bench: %d bytes still live at the end", n)
	}
	return errors.Join(err, p.device.sim.Close())
}
