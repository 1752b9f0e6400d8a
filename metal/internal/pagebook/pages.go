package pagebook

import (
	"fmt"
	"slices"

	"github.com/metalloc/metalloc/metal"
)

// Reserve implements metal.Pager.
func (b *Book) Reserve(size int64) (metal.Range, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open("reserve"); err != nil {
		return metal.Range{}, err
	}
	if err := b.wholePages("reserve", size); err != nil {
		return metal.Range{}, err
	}
	addr, err := b.backing.Take(size)
	if err != nil {
		return metal.Range{}, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	r := metal.Range{Addr: addr, Size: size}
	pr := &pageRange{Range: r, chunks: map[int64]*[chunkPages]metal.Handle{}}
	b.ranges[addr] = pr
	at, _ := b.search(addr)
	b.sorted = slices.Insert(b.sorted, at, pr)
	return r, nil
}

// Unreserve implements metal.Pager.
func (b *Book) Unreserve(r metal.Range) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	pr, err := b.find("unreserve", r)
	if err != nil {
		return err
	}
	if pr.mapped > 0 {
		return fmt.Errorf("unreserve range %#x: %d handles are still mapped in it: %w", r.Addr, pr.mapped, metal.ErrBusy)
	}
	if err := b.backing.Give(r.Addr, r.Size); err != nil {
		return fmt.Errorf("unreserve range %#x of %d bytes: %w", r.Addr, r.Size, err)
	}
	delete(b.ranges, r.Addr)
	at, _ := b.search(r.Addr)
	b.sorted = slices.Delete(b.sorted, at, at+1)
	return nil
}

// Create implements metal.Pager.
func (b *Book) Create(size int64) (metal.Handle, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open("create"); err != nil {
		return 0, err
	}
	if err := b.wholePages("create", size); err != nil {
		return 0, err
	}
	if err := b.room("create", size); err != nil {
		return 0, err
	}
	return b.add(&piece{size: size}), nil
}

// Release implements metal.Pager and returns the size of what was released.
func (b *Book) Release(h metal.Handle) (size int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.pagePiece("release", h)
	if err != nil {
		return 0, err
	}
	if len(p.places) > 0 {
		return 0, fmt.Errorf("release handle %d: still mapped at offset %d of range %#x: %w", h, p.places[0].offset, p.places[0].in.Addr, metal.ErrBusy)
	}
	b.remove(h)
	return p.size, nil
}

// Map implements metal.Pager.
func (b *Book) Map(r metal.Range, offset int64, hs []metal.Handle) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	pr, err := b.find("map", r)
	if err != nil {
		return err
	}
	if offset < 0 || offset%b.cfg.Unit != 0 || len(hs) == 0 {
		return fmt.Errorf("map %d handles at offset %d: want at least one and a multiple of the page size, %d: %w",
			len(hs), offset, b.cfg.Unit, metal.ErrInvalidSize)
	}
	next := offset
	for i, h := range hs {
		size, err := b.place(pr, offset, next, h)
		if err != nil {
			b.unplace(hs[:i])
			return err
		}
		next += size
	}
	if err := b.backing.Fill(r.Addr+uintptr(offset), next-offset); err != nil {
		b.unplace(hs)
		return fmt.Errorf("map %d bytes at offset %d: %w", next-offset, offset, err)
	}
	for _, h := range hs {
		p := b.pieces[h]
		pr.fill(offset/b.cfg.Unit, (offset+p.size)/b.cfg.Unit, h)
		b.cfg.Mapped(p.size)
		offset += p.size
	}
	pr.mapped += len(hs)
	return nil
}

// place checks that h can go to offset and notes on the piece that it does; the
// page table is left alone. What the same call has placed lies between start and
// offset. REQUIRES: b.mu.
func (b *Book) place(r *pageRange, start, offset int64, h metal.Handle) (size int64, err error) {
	p, err := b.pagePiece("map", h)
	if err != nil {
		return 0, err
	}
	if n := len(p.places); n > 0 && (!b.cfg.Aliases || p.places[n-1].between(r, start, offset)) {
		at := p.places[n-1]
		return 0, fmt.Errorf("map handle %d: mapped already, at offset %d of range %#x: %w", h, at.offset, at.in.Addr, metal.ErrBusy)
	}
	if offset > r.Size || p.size > r.Size-offset {
		return 0, fmt.Errorf("map handle %d of %d bytes at offset %d: the range has %d: %w", h, p.size, offset, r.Size, metal.ErrInvalidSize)
	}
	for page := offset / b.cfg.Unit; page < (offset+p.size)/b.cfg.Unit; page++ {
		if other := r.at(page); other != 0 {
			return 0, fmt.Errorf("map handle %d of %d bytes at offset %d: handle %d is mapped at offset %d: %w",
				h, p.size, offset, other, page*b.cfg.Unit, metal.ErrBusy)
		}
	}
	p.places = append(p.places, place{r, offset})
	return p.size, nil
}

// unplace takes back what was placed last.
func (b *Book) unplace(hs []metal.Handle) {
	for _, h := range hs {
		p := b.pieces[h]
		p.places = p.places[:len(p.places)-1]
	}
}

// Unmap implements metal.Pager. Pages that are not mapped can't be unmapped.
func (b *Book) Unmap(r metal.Range, offset, size int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	pr, err := b.find("unmap", r)
	if err != nil {
		return err
	}
	if err := b.wholePages("unmap", size); err != nil {
		return err
	}
	if offset < 0 || offset%b.cfg.Unit != 0 || offset > r.Size || size > r.Size-offset {
		return fmt.Errorf("unmap %d bytes at offset %d: want whole pages (%d) inside the range of %d: %w",
			size, offset, b.cfg.Unit, r.Size, metal.ErrInvalidSize)
	}
	for at := offset; at < offset+size; {
		h := pr.at(at / b.cfg.Unit)
		if h == 0 {
			return fmt.Errorf("unmap %d bytes at offset %d: nothing is mapped at offset %d: %w", size, offset, at, metal.ErrInvalidSize)
		}
		p := b.pieces[h]
		if !p.starts(pr, at) || p.size > offset+size-at {
			return fmt.Errorf("unmap %d bytes at offset %d: covers only part of handle %d, %d bytes, at offset %d: %w",
				size, offset, h, p.size, at, metal.ErrInvalidSize)
		}
		at += p.size
	}
	for page := offset / b.cfg.Unit; page < (offset+size)/b.cfg.Unit; page++ {
		if pr.wired(page) {
			return fmt.Errorf("unmap %d bytes at offset %d: the page at offset %d is still wired: %w",
				size, offset, page*b.cfg.Unit, metal.ErrBusy)
		}
	}
	if err := b.backing.Empty(r.Addr+uintptr(offset), size); err != nil {
		return fmt.Errorf("unmap %d bytes at offset %d: %w", size, offset, err)
	}
	for at := offset; at < offset+size; {
		p := b.pieces[pr.at(at/b.cfg.Unit)]
		p.leave(pr, at)
		pr.mapped--
		at += p.size
		b.cfg.Unmapped(p.size)
	}
	pr.fill(offset/b.cfg.Unit, (offset+size)/b.cfg.Unit, 0)
	return nil
}

func (b *Book) find(op string, r metal.Range) (*pageRange, error) {
	if err := b.open(op); err != nil {
		return nil, err
	}
	pr := b.ranges[r.Addr]
	if pr == nil || pr.Size != r.Size {
		return nil, fmt.Errorf("%s: no range of %d bytes is reserved at %#x: %w", op, r.Size, r.Addr, metal.ErrUnknownHandle)
	}
	return pr, nil
}

// pagePiece finds memory that Create made.
func (b *Book) pagePiece(op string, h metal.Handle) (*piece, error) {
	if err := b.open(op); err != nil {
		return nil, err
	}
	p := b.pieces[h]
	if p == nil {
		return nil, fmt.Errorf("%s handle %d: never created, or released: %w", op, h, metal.ErrUnknownHandle)
	}
	if p.segment != 0 {
		return nil, fmt.Errorf("%s handle %d: a segment made by Alloc, which only Free takes: %w", op, h, metal.ErrUnknownHandle)
	}
	return p, nil
}
