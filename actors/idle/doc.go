// Package idle decides how much free memory goes back to the device, and when. It
// is pure: no goroutine, no clock, no actor; times come in as nanoseconds that don't
// run backwards. Nothing here is safe for concurrent use: it belongs to the
// supervisor.
//
// Two questions are kept apart.
//
// How much has been idle for a while ([Log])? Free memory is an amount: pages can
// stand for each other, so what counts is the least that was free at any time since
// then, not which pages it was. tcmalloc asks the same from the other side: it keeps
// as much as the highest demand of the last interval (tcmalloc/huge_page_filler.h:
// skip-subrelease). Counting the age of pages alone would not do: a miss takes the
// page that was freed longest ago, so a program that often misses keeps turning over
// pages that it has far too many of, and none ever gets old.
//
// How long is a while ([Patience])? This is renting skis: keeping a page costs
// by the second, giving it back and taking it again costs once (about 40 and 45 µs
// on an H100). Whoever rents until the rent equals the price pays at most twice what
// one would who knew the future (Karlin, Manasse, Rudolph, Sleator 1988), but the
// rent of memory that siblings may or may not want has no price. So patience is
// learnt from regret, in both directions; see there. A fixed time (jemalloc's
// dirty_decay_ms, 10 s) is wrong for everyone whose period is a little longer.
package idle
