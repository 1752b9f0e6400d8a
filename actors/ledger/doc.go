// Package ledger counts: what is active, cached, slack and requested, for each
// stream and in all, the peaks, and how near the limits they are. All figures are
// exact at every instant, on any number of cores. It is pure: no goroutine, no
// clock, no device call.
//
// # Rows
//
// Each stream has a [Row]. Its word holds the stream's credit, and
//
//	active = granted − credit
//
// A malloc spends credit and a free returns it, with one compare-and-swap of the
// word, which no other stream's malloc or free touches. The same compare-and-swap
// makes a fresh book the present one, so that cache, slack and the counts change
// at the same instant as active. Setting the word's frozen bit stops the row's
// account, whatever its stream is in the middle of; who reads or moves several
// accounts freezes the rows that have credit, under the ledger's mutex.
//
// # Modes
//
// What is granted to all rows is what is active and all credit. It stays at or
// below the lowest peak that anyone keeps, so that spending credit can't make a
// peak that nobody recorded. Whether that leaves anything to hand out decides how
// it is counted, from operation to operation:
//
//	central  nobody has credit, every word is frozen, every operation takes the
//	         mutex: while memory grows each malloc makes a peak, which all must
//	         know of; and while the cache is near its limit, so that each free knows
//	         by how much it is over
//	lease    one stream alone is at work: it gets more credit than it can use. As
//	         the others' active stands still, the highest active of its own tells
//	         the peak of all when the lease ends or someone asks. An operation of
//	         another stream ends it
//	credits  several streams are at work below the peak: the room up to it is
//	         divided by what each has drawn of late, and again when one runs out
//
// Is an exact peak possible without talking while memory grows? Not in general:
// "A mallocs n, A frees n, B mallocs n" (peak n) and "A mallocs, B mallocs, A
// frees" (peak 2n) look the same to B unless it learns whether A's free has
// happened.
//
// Escrow counters are O'Neil's (ACM TODS 11(4), 1986); the readers' double collect
// is that of Afek et al. (JACM 40(4), 1993), with versions against ABA.
//
// # Readers
//
// [Ledger.Active] takes no lock while at most one row changes under its eyes. All
// other figures take the mutex and freeze the rows that have credit.
package ledger
