package streams

import "github.com/metalloc/metalloc/internal/steps"

// Inbox is where goroutines that are not in the owner's turn leave blocks that
// they have claimed, for the owner to free. Nobody waits. The zero Inbox is
// empty.
//
// It is Treiber's stack. Since it is only ever emptied as a whole, no block can
// come back to its top between a look at it and the swap.
type Inbox struct{ top steps.Pointer[Block] }

// Push leaves a block that the caller has claimed; from any goroutine. A claim
// succeeds once, so no block is left twice. It reports whether the inbox was empty:
// then the owner has to be told.
func (i *Inbox) Push(b *Block) (first bool) {
	for {
		older := i.top.Load()
		b.listNext = older
		if i.top.CompareAndSwap(older, b) {
			return older == nil
		}
	}
}

// Take takes all out, and gives the one that was left first; nil: there was none.
// [Block.Left] leads to the others. From one goroutine at a time.
func (i *Inbox) Take() *Block {
	if i.top.Load() == nil { // most often, and cheaper than a swap
		return nil
	}
	var first *Block
	for b := i.top.Swap(nil); b != nil; {
		older := b.listNext
		b.listNext = first
		first, b = b, older
	}
	return first
}

// Left is the block that was left after b, of those that Take took out; nil: b
// was the last. To be asked before b is handed out again.
func (b *Block) Left() *Block { return b.listNext }
