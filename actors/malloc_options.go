package actors

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/metalloc/metalloc/streams"
)

// MallocOptions are what MallocWith can do beyond Malloc. The zero value is Malloc.
type MallocOptions struct {
	// Zero: the buffer's bytes read as zero. ErrUnsupported where the host can't
	// see the device's memory. What Grow adds is zeroed with WithZero only.
	Zero bool
	// Room is address space to keep behind the buffer for Grow, bytes; it costs no
	// memory. ErrUnsupported on devices that give whole segments only.
	Room int64
}

// MallocWith is Malloc with options. A buffer with room always comes from a
// place of its own, so it is a miss.
func (s *Stream) MallocWith(ctx context.Context, size int64, o MallocOptions) (Buffer, error) {
	if o.Room < 0 || o.Room > NoLimit-max(size, 0) {
		return Buffer{}, s.core.fail("malloc", s, size, fmt.Errorf("room %d: %w", o.Room, ErrInvalidSize))
	}
	if size <= 0 || s.core.checkSize(size) != nil {
		return s.mallocOdd(size)
	}
	if o.Zero {
		if err := s.core.canZero(); err != nil {
			return Buffer{}, s.core.fail("malloc", s, size, err)
		}
	}
	return s.mallocSlow(ctx, size, o)
}

// mallocSlow is Malloc by ticket, for a miss or a busy stream, and with whatever is
// asked for on top.
func (s *Stream) mallocSlow(ctx context.Context, size int64, o MallocOptions) (Buffer, error) {
	if size <= 0 || size > s.most {
		return s.mallocOdd(size)
	}
	w := want{op: "malloc", sizes: []int64{size}, room: o.Room, zero: o.Zero || s.core.alwaysZero}
	w.site = s.core.callSite()
	return s.mallocTicket(ctx, s.core.newTicket(s, w))
}

// MallocAll fills out with a buffer for each size, or none: an error leaves out
// as it was. len(out) is at least len(sizes). All come in one turn when the cache
// has them; otherwise one wait for the device covers all.
func (s *Stream) MallocAll(ctx context.Context, sizes []int64, out []Buffer) error {
	if len(out) < len(sizes) {
		return s.core.fail("malloc all", s, 0, fmt.Errorf("%d sizes for %d buffers: %w", len(sizes), len(out), ErrInvalidSize))
	}
	some := make([]int64, 0, len(sizes))
	var total int64
	for _, n := range sizes {
		err := s.core.checkSize(n)
		if err == nil && total > NoLimit-n {
			err = fmt.Errorf("sizes up to %d: %w in all", n, ErrTooLarge)
		}
		if err != nil {
			return s.core.fail("malloc all", s, n, err)
		}
		total += n
		if n > 0 {
			some = append(some, n)
		}
	}
	var bufs []Buffer
	if len(some) > 0 {
		t := s.core.newTicket(s, want{op: "malloc all", sizes: some, site: s.core.callSite()})
		if err := t.wait(ctx); err != nil {
			return err
		}
		bufs = t.bufs
		if s.core.alwaysZero && !t.fresh {
			for _, b := range bufs {
				b.zero()
			}
		}
	} else if _, err := s.mallocOdd(0); err != nil {
		return err
	}
	for i, n := range sizes {
		if n == 0 {
			out[i] = Buffer{h: &s.none}
			continue
		}
		out[i], bufs = bufs[0], bufs[1:]
	}
	return nil
}

// Grow makes the buffer larger where it is: the address stays, the contents too,
// the old value stays valid for Free (once, by either). A buffer can grow into
// the room it was given, or into whatever happens to be free behind it;
// otherwise ErrNoRoom, and nothing has changed. ErrInvalidSize for less than it
// has, ErrDoubleFree after Free, ErrBusy while another
// Grow of it is under way, and Malloc's errors. It may wait for the device, and
// then ctx is looked at; if it ends first, the buffer may still grow.
func (b Buffer) Grow(ctx context.Context, size int64) (Buffer, error) {
	if b.stream() == nil {
		return Buffer{}, &AllocError{Op: "grow", Requested: size, Err: ErrForeignBuffer}
	}
	s := b.stream()
	switch err := s.core.checkSize(size); {
	case err != nil:
		return Buffer{}, s.core.fail("grow", s, size, err)
	case size < b.size:
		return Buffer{}, s.core.fail("grow", s, size, fmt.Errorf("size %d: %w: the buffer has %d", size, ErrInvalidSize, b.size))
	case b.block() == nil:
		return Buffer{}, s.core.fail("grow", s, size, ErrNoRoom)
	}
	t := s.core.newTicket(s, want{op: "grow", sizes: []int64{size}, grow: b})
	if err := t.wait(ctx); err != nil {
		return Buffer{}, err
	}
	return t.buffer()
}

// canZero says whether buffers can be zeroed.
func (c *Core) canZero() error {
	if !c.info.HostVisible {
		return fmt.Errorf("zeroed buffers: %w: the host can't see the memory of device %q", ErrUnsupported, c.info.Name)
	}
	return nil
}

// zero clears a buffer that nobody else has yet, and what Grow may add to it
// without asking the device.
func (b Buffer) zero() { clear(hostBytes(b.addr, b.Capacity())) }

// Site is where a buffer was asked for.
type Site struct {
	pcs [24]uintptr
	n   int
}

// Frames are the call's frames, innermost first; metalloc's own are left out.
func (s *Site) Frames() *runtime.Frames { return runtime.CallersFrames(s.pcs[:s.n]) }

// callSite notes the present call stack if somebody wants call sites.
func (c *Core) callSite() *Site {
	if c.tracking.Load() == 0 {
		return nil
	}
	site := &Site{}
	site.n = runtime.Callers(3, site.pcs[:])
	return site
}

// TrackCallSites has each malloc from now on note where it was called, until stop
// is called; several may track at a time. It slows mallocs down: for tests.
func (c *Core) TrackCallSites() (stop func()) {
	c.tracking.Add(1)
	c.slow.Add(1)
	return sync.OnceFunc(func() {
		c.slow.Add(-1)
		c.tracking.Add(-1)
	})
}

func (s *Stream) noteSite(b *streams.Block, site *Site) {
	if site == nil {
		return
	}
	if s.sites == nil {
		s.sites = map[*streams.Block]*Site{}
	}
	s.sites[b] = site
}
