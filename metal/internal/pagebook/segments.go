package pagebook

import (
	"errors"
	"fmt"

	"github.com/metalloc/metalloc/metal"
)

// Alloc implements metal.Segmenter. Sizes are rounded up to the unit.
func (b *Book) Alloc(size int64) (metal.Segment, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open("alloc"); err != nil {
		return metal.Segment{}, err
	}
	if size <= 0 {
		return metal.Segment{}, fmt.Errorf("alloc %d bytes: want a positive size: %w", size, metal.ErrInvalidSize)
	}
	if size > b.cfg.MaxBuffer {
		return metal.Segment{}, fmt.Errorf("alloc %d bytes: the largest buffer is %d: %w", size, b.cfg.MaxBuffer, metal.ErrTooLarge)
	}
	size = (size + b.cfg.Unit - 1) &^ (b.cfg.Unit - 1) // ≤ Memory, so nothing overflows
	if err := b.room("alloc", size); err != nil {
		return metal.Segment{}, err
	}
	addr, err := b.backing.Take(size)
	if err != nil {
		return metal.Segment{}, fmt.Errorf("alloc %d bytes: %w", size, err)
	}
	if err := b.backing.Fill(addr, size); err != nil {
		return metal.Segment{}, errors.Join(fmt.Errorf("alloc %d bytes: %w", size, err), b.backing.Give(addr, size))
	}
	h := b.add(&piece{size: size, segment: addr})
	return metal.Segment{Handle: h, Addr: addr, Size: size}, nil
}

// Free implements metal.Segmenter.
func (b *Book) Free(s metal.Segment) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open("free"); err != nil {
		return err
	}
	p := b.pieces[s.Handle]
	if p == nil || p.segment == 0 || p.segment != s.Addr || p.size != s.Size {
		return fmt.Errorf("free handle %d, %d bytes at %#x: no such segment, or freed already: %w", s.Handle, s.Size, s.Addr, metal.ErrUnknownHandle)
	}
	if p.wired {
		return fmt.Errorf("free handle %d, %d bytes at %#x: still wired: %w", s.Handle, s.Size, s.Addr, metal.ErrBusy)
	}
	if err := b.backing.Give(s.Addr, s.Size); err != nil {
		return fmt.Errorf("free handle %d, %d bytes at %#x: %w", s.Handle, s.Size, s.Addr, err)
	}
	b.remove(s.Handle)
	return nil
}
