package pagebook

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/metalloc/metalloc/metal"
)

// Wire implements metal.Wirer.
func (b *Book) Wire(addr uintptr, size int64) error { return b.setWired("wire", addr, size, true) }

// Unwire implements metal.Wirer. When the device fails half-way, what is still
// wired stays counted.
func (b *Book) Unwire(addr uintptr, size int64) error { return b.setWired("unwire", addr, size, false) }

func (b *Book) setWired(op string, addr uintptr, size int64, on bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open(op); err != nil {
		return err
	}
	var err error
	if p := b.segments[addr]; p != nil {
		err = b.wireSegment(p, size, on)
	} else {
		err = b.wirePages(addr, size, on)
	}
	if err != nil {
		return fmt.Errorf("%s %d bytes at %#x: %w", op, size, addr, err)
	}
	return nil
}

func (b *Book) wireSegment(p *piece, size int64, on bool) error {
	if size != p.size {
		return fmt.Errorf("the segment there has %d: %w", p.size, metal.ErrInvalidSize)
	}
	if p.wired == on {
		return nil
	}
	if err := b.touch(p.segment, size, on); err != nil {
		return err
	}
	p.wired = on
	return nil
}

// touch has the device wire or unwire, and counts it.
func (b *Book) touch(addr uintptr, size int64, on bool) error {
	if !on {
		if err := b.backing.Unwire(addr, size); err != nil {
			return err
		}
		b.wired.Add(-size)
		return nil
	}
	if err := b.backing.Wire(addr, size); err != nil {
		return err
	}
	b.wired.Add(size)
	return nil
}

func (b *Book) wirePages(addr uintptr, size int64, on bool) error {
	r, from, to, err := b.mappedPages(addr, size)
	if err != nil {
		return err
	}
	var done []span
	for run := range r.runs(from, to, !on) {
		if err := b.touchRun(r, run, on); err != nil {
			if on { // nothing half wired
				for _, d := range done {
					err = errors.Join(err, b.touchRun(r, d, false))
				}
			}
			return err
		}
		done = append(done, run)
	}
	return nil
}

func (b *Book) touchRun(r *pageRange, run span, on bool) error {
	err := b.touch(r.Addr+uintptr(run.from*b.cfg.Unit), (run.to-run.from)*b.cfg.Unit, on)
	if err == nil {
		r.setWired(run.from, run.to, on)
	}
	return err
}

// mappedPages finds the pages [from, to) of a range, all mapped.
func (b *Book) mappedPages(addr uintptr, size int64) (r *pageRange, from, to int64, err error) {
	i, found := b.search(addr)
	if !found {
		i--
	}
	if i < 0 || addr-b.sorted[i].Addr >= uintptr(b.sorted[i].Size) {
		return nil, 0, 0, fmt.Errorf("no range or segment is there: %w", metal.ErrUnknownHandle)
	}
	r = b.sorted[i]
	offset, unit := int64(addr-r.Addr), b.cfg.Unit
	if offset%unit != 0 || size <= 0 || size%unit != 0 || size > r.Size-offset {
		return nil, 0, 0, fmt.Errorf("want whole pages (%d) inside the range of %d at %#x: %w", unit, r.Size, r.Addr, metal.ErrInvalidSize)
	}
	from, to = offset/unit, (offset+size)/unit
	for page := from; page < to; page++ {
		if r.at(page) == 0 {
			return nil, 0, 0, fmt.Errorf("nothing is mapped at offset %d: %w", page*unit-offset, metal.ErrInvalidSize)
		}
	}
	return r, from, to, nil
}

// search finds a range by its start in b.sorted, or where it would go.
func (b *Book) search(addr uintptr) (int, bool) {
	return slices.BinarySearchFunc(b.sorted, addr, func(r *pageRange, addr uintptr) int {
		return cmp.Compare(r.Addr, addr)
	})
}
