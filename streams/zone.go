package streams

// SmallLimit parts small blocks from large ones, bytes: smaller ones are small.
const SmallLimit = 1 << 20

// zone is the segments of one kind of block, with what is free in them.
type zone struct {
	segs      []*segment
	bins      [numClasses]list // free blocks by class
	set       classSet         // classes whose bin is not empty
	holes     list
	nextChunk int64 // address space to reserve next, bytes
}

// maxScan bounds the search within one bin, whose blocks differ by 1/32 at most.
const maxScan = 32

// fit finds a free block of at least size bytes, or nil: of the smallest class that
// has one, of exactly that size or else the one with the lowest address, which keeps
// the far end of a segment free for what is larger. Among many blocks of one class
// it looks at the first maxScan only.
func (z *zone) fit(size int64) *Block {
	c := classOf(size)
	for c = z.set.next(c); c >= 0; c = z.set.next(c + 1) {
		if b := lowestFit(z.bins[c].head, size); b != nil {
			return b
		}
	}
	return nil
}

func lowestFit(b *Block, size int64) *Block {
	var best *Block
	for i := 0; b != nil && (i < maxScan || best == nil); i++ {
		if b.size == size {
			return b
		}
		if b.size > size && (best == nil || b.before(best)) {
			best = b
		}
		b = b.listNext
	}
	return best
}

// before compares addresses.
func (b *Block) before(o *Block) bool { return b.Addr() < o.Addr() }

func (z *zone) addFree(b *Block) {
	b.state = free
	c := classOf(b.size)
	z.bins[c].push(b)
	z.set.add(c)
}

func (z *zone) removeFree(b *Block) {
	c := classOf(b.size)
	z.bins[c].remove(b)
	if z.bins[c].head == nil {
		z.set.remove(c)
	}
}

func (z *zone) addHole(b *Block) {
	b.state = hole
	z.holes.push(b)
}
