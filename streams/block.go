package streams

import "github.com/metalloc/metalloc/metal"

type state uint8

const (
	hole state = iota
	free
	quick
	pending
	claimed
	live
	room
)

func (s state) String() string {
	return [...]string{"hole", "free", "quick", "pending", "claimed", "live", "room"}[s]
}

// Block is a piece of a segment. The struct outlives the piece: when blocks
// merge, one of the structs is kept aside and stands for another piece later.
// Its generation only rises, and no two blocks of a heap ever live under the
// same one, so that whoever remembers a block together with its generation can
// tell whether it is still the same one.
//
// All fields belong to the heap's owner.
type Block struct {
	gen       uint64 // odd while live
	size      int64  // bytes, a multiple of Unit
	off       int64  // from the segment's start
	seg       *segment
	requested int64
	stamp     uint64 // heap clock of the last free

	state state
	drop  bool  // pending, and to be given back once settled (ClearCache came meanwhile)
	waits int32 // marks not reached yet

	prev, next         *Block // neighbours by address
	listPrev, listNext *Block // in a bin, a quick stack, the holes or the spares
	uses               []metal.Queue
}

// Gen is the block's generation; it changes with every malloc and free.
func (b *Block) Gen() uint64 { return b.gen }

// Live reports whether the block is handed out.
func (b *Block) Live() bool { return b.state == live }

// Addr is the block's device address.
func (b *Block) Addr() uintptr { return b.seg.rng.Addr + uintptr(b.off) }

// Size is what the block takes, bytes: the request rounded up.
func (b *Block) Size() int64 { return b.size }

// Requested is what the caller asked for, bytes.
func (b *Block) Requested() int64 { return b.requested }

// Use notes that work on another queue uses the block. The same queue twice
// counts once.
func (b *Block) Use(q metal.Queue) {
	for _, u := range b.uses {
		if u == q {
			return
		}
	}
	b.uses = append(b.uses, q)
}

// Uses lists the queues noted since the malloc; valid until the free.
func (b *Block) Uses() []metal.Queue { return b.uses }

func (b *Block) end() int64 { return b.off + b.size }

// list is a doubly linked list of blocks through listPrev and listNext.
type list struct{ head *Block }

func (l *list) push(b *Block) {
	b.listPrev, b.listNext = nil, l.head
	if l.head != nil {
		l.head.listPrev = b
	}
	l.head = b
}

func (l *list) remove(b *Block) {
	if b.listPrev != nil {
		b.listPrev.listNext = b.listNext
	} else {
		l.head = b.listNext
	}
	if b.listNext != nil {
		b.listNext.listPrev = b.listPrev
	}
	b.listPrev, b.listNext = nil, nil
}
