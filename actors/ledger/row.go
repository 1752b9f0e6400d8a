package ledger

import (
	_ "sync/atomic" // the methods of steps' atomics are inlined only where their own package is imported

	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/streams"
)

// line is what a hot word gets to itself: two cache lines, since the adjacent one
// is prefetched on amd64, and one on Apple's arm64.
const line = 128

// Row is one stream's account. Its owner is whoever holds the stream's turn; only
// the owner calls Malloc, Free, TakenUp and Settle. The zero Row can be opened.
//
// Active is granted − credit, so that one compare-and-swap of the word moves
// bytes between the stream's credit and what its callers hold. All else that the
// owner knows is in a book: it writes the one of the two that is not the present
// one, and the same compare-and-swap makes it so. Who has frozen the word reads
// the present one.
type Row struct {
	_          [line]byte
	word       steps.Uint64
	granted    steps.Int64 // bytes; changed under the mutex with the word frozen
	active     int64       // the owner's: what the heap said at the last commit
	ledger     *Ledger
	cacheLimit steps.Int64 // the stream's own
	bell       steps.Int64 // what the owner's free compares the cache with: that limit, or less (see Ring)
	_          [line - 48]byte

	books [2]book
	shelf shelf

	// What other goroutines have freed. The freer counts it in left before it
	// gives the credit, the owner in its book when it takes the blocks up.
	left     steps.Uint64
	inflight steps.Uint64 // freers between the two, in the lower half; the upper counts them all
	_        [line - 16]byte

	shared
}

// book is what a stream's owner publishes with each malloc and free, bytes and
// counts.
type book struct {
	waste   int64 // active − requested, of what the heap has handed out
	mallocs int64
	frees   int64
	high    int64  // highest active after a malloc since the word was fresh
	taken   uint64 // of left
}

// shelf is what the owner publishes beside the books. It changes seldom, and only
// under the mutex with the word frozen.
type shelf struct {
	held    int64 // active and cache, blocks left by others and not taken up included
	pending int64
	slack   int64
}

func (s *shelf) reserved() int64 { return s.held + s.slack }

// fits reports whether f differs from what was published in the books alone. As
// reserved changes under the mutex only, held is right if slack is.
func (s *shelf) fits(f *streams.Figures) bool { return f.Slack == s.slack && f.Pending == s.pending }

// Left counts blocks in the upper 24 bits and, in the lower 40, their waste: bytes
// that rounding up has added. Both are sums that wrap; the difference of two is
// right while fewer than 16 million blocks, with less than 1 TiB of waste, are
// outstanding.
const (
	wasteBits = 40
	oneLeft   = uint64(1) << wasteBits
)

// write sets the fields one by one: a literal would be put together on the stack
// and copied by wider loads than it was stored with, which have to wait.
func (b *book) write(waste, mallocs, frees, high int64, taken uint64) {
	b.waste = waste
	b.mallocs = mallocs
	b.frees = frees
	b.high = high
	b.taken = taken
}

// Malloc books a malloc of n bytes (a multiple of 512) that was served from what
// the heap held; f are the heap's figures after it.
func (r *Row) Malloc(f *streams.Figures, n int64) {
	u := units(n)
	for {
		x := r.word.Load()
		if x&frozenBit != 0 || credit(x) < u || !r.shelf.fits(f) {
			r.ledger.Settle(r, f, Change{Mallocs: 1})
			return
		}
		old, next := &r.books[slotOf(x)], &r.books[slotOf(x^slotBit)]
		high := r.granted.Load() - bytes(credit(x)-u)
		if x&freshBit == 0 || planted(staleHigh) {
			high = max(high, old.high)
		}
		next.write(f.Active-f.Requested, old.mallocs+1, old.frees, high, old.taken)
		if r.word.CompareAndSwap(x, ((x-u)^slotBit)&^freshBit+version()) {
			r.active = f.Active
			return
		}
	}
}

// Free books the owner's free of n bytes. It returns by how much the cache, or the
// stream's own, is above its limit or where it rings; negative or 0: not.
func (r *Row) Free(f *streams.Figures, n int64) (excess int64) {
	u := units(n)
	for {
		x := r.word.Load()
		if x&frozenBit != 0 || creditMask-credit(x) < u || !r.shelf.fits(f) {
			return max(r.ledger.Settle(r, f, Change{Frees: 1}), f.Cache-r.bell.Load())
		}
		old, next := &r.books[slotOf(x)], &r.books[slotOf(x^slotBit)]
		next.write(f.Active-f.Requested, old.mallocs, old.frees+1, old.high, old.taken)
		if r.word.CompareAndSwap(x, (x+u)^slotBit+version()) {
			r.active = f.Active
			return f.Cache - r.bell.Load() // a row has credit only while the cache's limit is far
		}
	}
}

// TakenUp books that the owner has freed blocks that others had left (see Leave). It
// returns what Free does.
func (r *Row) TakenUp(f *streams.Figures, t Taken) (excess int64) {
	for {
		x := r.word.Load()
		if x&frozenBit != 0 || !r.shelf.fits(f) {
			return max(r.ledger.Settle(r, f, Change{Taken: t}), f.Cache-r.bell.Load())
		}
		old, next := &r.books[slotOf(x)], &r.books[slotOf(x^slotBit)]
		next.write(f.Active-f.Requested, old.mallocs, old.frees+t.Blocks, old.high, old.taken+t.packed())
		if r.word.CompareAndSwap(x, x^slotBit+version()) {
			r.active = f.Active
			return f.Cache - r.bell.Load()
		}
	}
}

// Taken is what the owner has taken up of what others had left.
type Taken struct {
	Blocks    int64
	Bytes     int64 // as the blocks count in active
	Requested int64
}

func (t Taken) packed() uint64 { return uint64(t.Blocks)*oneLeft + uint64(t.Bytes-t.Requested) }

// Leave books, on any goroutine, the free of a block of n bytes that is left for
// the owner: from here on it isn't active any more. The block must not reach the
// owner before Leave has returned.
func (r *Row) Leave(n, requested int64) {
	for !r.tryLeave(n, requested) {
		if r.ledger.leave(r, n, requested) {
			return
		}
	}
}

func (r *Row) tryLeave(n, requested int64) bool {
	u, packed := units(n), oneLeft+uint64(n-requested)
	if planted(creditFirst) {
		return r.tryCreditFirst(u, packed)
	}
	r.inflight.Add(1<<32 + 1)
	r.left.Add(packed)
	for {
		x := r.word.Load()
		if x&frozenBit != 0 || creditMask-credit(x) < u {
			if !planted(noUndo) {
				r.left.Add(-packed)
			}
			r.inflight.Add(^uint64(0))
			return false
		}
		if r.word.CompareAndSwap(x, x+u+version()) {
			r.inflight.Add(^uint64(0))
			return true
		}
	}
}

// outstanding is what others have left and the owner not taken up; the row stands
// still. False: a free is half done, and the caller must let go and try again.
func (r *Row) outstanding() (blocks, waste int64, ok bool) {
	before := r.inflight.Load()
	left := r.left.Load() - r.book().taken
	ok = planted(ignoreHalf) || uint32(before) == 0 && r.inflight.Load() == before
	return int64(left / oneLeft), int64(left % oneLeft), ok
}

// Active is what the stream's callers hold, bytes, at one instant of the call.
// From any goroutine.
func (r *Row) Active() int64 {
	for range glances {
		x := r.word.Load()
		granted := r.granted.Load()
		if x&frozenBit == 0 && r.word.Load() == x {
			return granted - bytes(credit(x))
		}
	}
	l := r.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.activeNow()
}
