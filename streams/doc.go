// Package streams is one GPU stream's memory: the blocks it has handed out, the
// freed ones it keeps, and the pages below them. It is pure: no goroutine, no
// clock, no log, no device call and no actor. Whoever owns a [Heap] calls it
// from one goroutine at a time, in a turn, and does the device work that its
// plans ask for.
//
// A Heap holds segments, ranges of address space. On a device that maps page by
// page a segment is reserved large and mapped as needed; on a device that only
// gives whole segments each is one page as large as itself, and the same code
// serves both. A segment is covered without gaps by blocks in address order:
//
//	live      handed out
//	quick     freed a moment ago, kept in a stack of its size class, not yet merged
//	free      freed and merged with free neighbours, found by best fit
//	pending   freed, but work queued on another stream may still use it
//	promised  kept for a miss whose device work is under way
//	hole      address space without pages
//	room      address space kept behind a live block for it to grow into
//	parting   address space whose page has moved on, but queued work may still go through it
//
// A block's life ends with [Block.Claim], once, from any goroutine; the heap
// hears of it when the owner brings the block to [Heap.Free]. Goroutines that
// can't have the owner's turn leave claimed blocks in an [Inbox].
//
// A malloc tries, in this order: the quick stack of its class; the best fitting
// free block; the same after merging all quick blocks. Otherwise it is a miss,
// and [Heap.Plan] claims the place where the fewest pages are missing and gives
// up the heap's own free pages, least recently freed first, to fill it; only
// what is then still missing has to come from outside.
//
// The size classes are exact below 32 KiB and 1/32 wide above, as in
// hdrhistogram; the two-level search by bitmap is that of TLSF (Masmano et al.,
// 2004). Blocks under 1 MiB live in segments of their own, so that a small live
// block seldom holds a page that a large one could give back (PyTorch's caching
// allocator keeps the same bound: c10/cuda/CUDACachingAllocator.h).
//
// Not stable: only metalloc's own packages should import this one.
package streams
