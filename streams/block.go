package streams

import (
	"slices"
	_ "sync/atomic" // the methods of steps' atomics are inlined only where their own package is imported

	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/metal"
)

type state uint8

const (
	hole state = iota
	free
	quick
	pending
	promised
	live
	room
	parting
)

func (s state) String() string {
	return [...]string{"hole", "free", "quick", "pending", "promised", "live", "room", "parting"}[s]
}

// Block is a piece of a segment. The struct outlives the piece: when blocks
// merge, one of the structs is kept aside and stands for another piece later.
//
// Whoever is handed a block remembers its generation with it. [Block.Claim] ends
// that life of the block, once; the next one begins under the next generation.
// A generation only rises, and a struct that comes to stand for another piece
// starts above all that ever ended (see newBlock): no two lives at an address
// have the same one, nor two lives of a struct.
//
// Gen, Claim, Unclaim, Used and [Inbox.Push] are for any goroutine. All else
// belongs to the heap's owner.
type Block struct {
	// The first cache line is all that a malloc, a claim and a free touch.

	handle    Handle
	gen       steps.Uint64
	listNext  *Block // in a bin, a quick stack, the holes, the spares or an Inbox
	page      *page  // lies == within: that page
	size      int64  // bytes, a multiple of Unit
	requested int64
	class     uint16 // of size; like lies and page, known from the hand-out on (see locate)
	state     state
	lies      lies
	odd       steps.Uint32 // what a free has to look after; the owner writes it

	stamp      uint64 // heap clock of the last free; written, not read, by a free
	off        int64  // from the segment's start
	seg        *segment
	prev, next *Block // neighbours by address
	listPrev   *Block
	uses       *[]metal.Queue // nil: never any
	waits      int32          // marks not reached yet
	drop       bool           // pending, and to be given back once settled (ClearCache came meanwhile)
}

// Handle is how a buffer refers to its block: one word, which leads to the block and
// to the heap's owner. Each block has one for all its lives; a holder can be given
// another one that nobody else refers to, so that the garbage collector tells when
// the holder has dropped it.
type Handle struct {
	Block *Block // nil: no memory
	Home  *Home
}

// Home is whose memory it is.
type Home struct{ Owner any }

// Handle is the block's own.
func (b *Block) Handle() *Handle { return &b.handle }

// What may be odd about a block.
const (
	used   = 1 << iota // uses is not empty
	roomy              // there is room behind it, or was
	pinned             // its size may change
)

// Gen is the block's generation: of its life while it is handed out and not
// claimed, else of the next one.
func (b *Block) Gen() uint64 { return b.gen.Load() }

// Claim ends the life that was handed out under gen: of all who try, one
// succeeds, and has to bring the block to the heap's Free or FreeBehind. False:
// that life is over already.
func (b *Block) Claim(gen uint64) bool { return b.gen.CompareAndSwap(gen, gen+1) }

// Unclaim takes a Claim back that was not followed by a free: the block lives on
// under gen.
func (b *Block) Unclaim(gen uint64) { b.gen.Store(gen) }

// Live reports whether the block is handed out, as far as the heap knows: one
// that was claimed stays live until it is freed.
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
	if b.uses == nil {
		b.uses = new([]metal.Queue)
	}
	if !slices.Contains(*b.uses, q) {
		*b.uses = append(*b.uses, q)
	}
	b.odd.Store(b.odd.Load() | used)
}

// Pin says that the block's size may change: as after Use, its free has to wait
// for the owner's turn.
func (b *Block) Pin() { b.odd.Store(b.odd.Load() | pinned) }

// Used reports whether Use or Pin was called since the malloc.
func (b *Block) Used() bool { return b.odd.Load()&(used|pinned) != 0 }

// Uses lists the queues noted since the malloc; valid until the free.
func (b *Block) Uses() []metal.Queue {
	if b.uses == nil {
		return nil
	}
	return *b.uses
}

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
