package streams

import (
	"cmp"
	"math"
	"slices"

	"github.com/metalloc/metalloc/metal"
)

// Offer is a free page that a heap can give up now.
type Offer struct {
	Handle metal.Handle
	Size   int64 // bytes
	Since  int64 // when it was last freed, at the latest: a time that Note was told
	From   int   // for whoever collects offers of several heaps
	Early  bool  // it can be moved, but not be given back yet (see PageRun)

	stamp uint64 // the page's
}

// instant is a time, and what the heap's clock showed then.
type instant struct {
	time  int64
	clock uint64
}

// maxInstants bounds how many the heap remembers. They lie the denser the younger
// they are: ages from a millisecond to a minute are known to a fifth.
const maxInstants = 64

// Note tells the heap the time, on whatever scale: ages of free pages are known as
// exactly as it was told the time since. Times must not run backwards.
func (h *Heap) Note(now int64) {
	n := len(h.instants)
	if n > 0 && h.instants[n-1].clock == h.clock {
		return // nothing was freed since
	}
	if n == maxInstants {
		i := h.leastMissed(now)
		h.instants = slices.Delete(h.instants, i, i+1)
	}
	h.instants = append(h.instants, instant{now, h.clock})
}

// leastMissed finds the instant without which ages are still known best, relative to
// themselves. What was freed before it counts as freed before the next: a page is not
// older than it says.
func (h *Heap) leastMissed(now int64) (best int) {
	least := math.Inf(1)
	for i := 1; i < len(h.instants)-1; i++ {
		width := float64(h.instants[i+1].time - h.instants[i-1].time)
		if w := width / float64(now-h.instants[i-1].time+1); w < least {
			least, best = w, i
		}
	}
	return best
}

// since gives the first time noted after the free with that stamp.
func (h *Heap) since(stamp uint64) int64 {
	i, _ := slices.BinarySearchFunc(h.instants, stamp, func(n instant, stamp uint64) int { return cmp.Compare(n.clock, stamp) })
	if i == len(h.instants) { // never noted: the youngest
		return math.MaxInt64
	}
	return h.instants[i].time
}

// Offers adds the pages to the list that the heap could give up now; for its own
// use, with those that queued work may still touch where they lie (see PageRun).
func (h *Heap) Offers(list []Offer, own bool) []Offer {
	h.flush()
	pages := h.freePages(h.upTo(own))
	list = slices.Grow(list, len(pages))
	var stamp uint64
	since := h.since(stamp)
	for _, f := range pages {
		if f.page.stamp != stamp { // neighbours were mostly freed together
			stamp = f.page.stamp
			since = h.since(stamp)
		}
		list = append(list, Offer{Handle: f.page.handle, Size: f.page.size, Since: since, Early: stamp > h.passed, stamp: stamp})
	}
	return list
}

// upTo is when, by its clock, the pages were freed at the latest that can be taken.
func (h *Heap) upTo(own bool) uint64 {
	if own && h.cfg.Aliases {
		return h.clock
	}
	return h.passed
}

// Offered sums the bytes on offer that can be given back, too.
func Offered(offers []Offer) (n int64) {
	for _, o := range offers {
		if !o.Early {
			n += o.Size
		}
	}
	return n
}

// TakeOffered takes those of the offered pages out of the heap that are its own
// and have been free all the time since: one that was used meanwhile isn't idle.
func (h *Heap) TakeOffered(offers []Offer, own bool) []PageRun {
	if len(offers) == 0 {
		return nil
	}
	wanted := make(map[metal.Handle]uint64, len(offers))
	for _, o := range offers {
		wanted[o.Handle] = o.stamp
	}
	h.flush()
	return h.takePages(slices.DeleteFunc(h.freePages(h.upTo(own)), func(f freePage) bool {
		stamp, found := wanted[f.page.handle]
		return !found || stamp != f.page.stamp
	}))
}

// OldestFirst sorts offers by age; equals keep their order.
func OldestFirst(offers []Offer) {
	slices.SortStableFunc(offers, func(a, b Offer) int { return cmp.Compare(a.Since, b.Since) })
}

// Choose picks, from pages on offer, those that fill gaps of these sizes: the
// oldest first, each where it fits best; and for what is left the smallest that
// does, which has to be broken up. It sorts the offers and takes from their front.
func Choose(offers []Offer, gaps []int64) []Offer {
	OldestFirst(offers)
	gaps = slices.Clone(gaps)
	n := 0
	var left int64
	for _, g := range gaps {
		left += g
	}
	for i, o := range offers {
		if left == 0 {
			return offers[:n]
		}
		if g := bestGap(gaps, o.Size); g >= 0 {
			gaps[g] -= o.Size
			left -= o.Size
			offers[i], offers[n] = offers[n], offers[i]
			n++
		}
	}
	for left > 0 && n < len(offers) {
		i := n + tooLarge(offers[n:], left)
		if offers[i].Early {
			break
		}
		left -= offers[i].Size
		offers[i], offers[n] = offers[n], offers[i]
		n++
	}
	return offers[:n]
}

// Serves reports whether a segment of that many bytes, taken from another stream, is
// of use where size are missed: enough, and no more than twice as much.
func Serves(segment, size int64) bool { return segment >= size && segment <= 2*size }

// ChooseSegment is Choose for whole segments: the smallest that serves; or else the
// oldest ones that make room for one.
func ChooseSegment(offers []Offer, size int64) []Offer {
	best := -1
	for i, o := range offers {
		if Serves(o.Size, size) && (best < 0 || o.Size < offers[best].Size) {
			best = i
		}
	}
	if best >= 0 {
		offers[0], offers[best] = offers[best], offers[0]
		return offers[:1]
	}
	OldestFirst(offers)
	for i, o := range offers {
		if size -= o.Size; size <= 0 {
			return offers[:i+1]
		}
	}
	return offers
}

// bestGap finds the smallest gap that the page fits into, or -1.
func bestGap(gaps []int64, size int64) int {
	best := -1
	for i, g := range gaps {
		if g >= size && (best < 0 || g < gaps[best]) {
			best = i
		}
	}
	return best
}

// tooLarge finds the smallest offer of at least n bytes, or else the largest; an
// early one, which can't be broken up, only if there is no other.
func tooLarge(offers []Offer, n int64) int {
	best := 0
	for i, o := range offers {
		b := offers[best]
		switch {
		case o.Early:
		case b.Early, o.Size >= n && (b.Size < n || o.Size < b.Size), o.Size < n && b.Size < n && o.Size > b.Size:
			best = i
		}
	}
	return best
}

// Fill lays pages into the runs, each whole, the largest first. A page without a
// handle is to be created: at most most bytes, 0 for no bound. What fits nowhere
// is left over.
func Fill(runs []PageRun, pages []Page, most int64) (filled, left []Page) {
	bySize := groups(pages)
	for _, r := range runs {
		for n := r.Size; n > 0; n -= filled[len(filled)-1].Size {
			i := slices.IndexFunc(bySize, func(g []Page) bool { return len(g) > 0 && g[0].Size <= n })
			if i >= 0 {
				filled = append(filled, bySize[i][0])
				bySize[i] = bySize[i][1:]
				continue
			}
			p := Page{Size: n}
			if most > 0 {
				p.Size = min(n, most)
			}
			filled = append(filled, p)
		}
	}
	return filled, slices.Concat(bySize...)
}

// groups are the pages of each size, the largest first; of sizes there are few.
func groups(pages []Page) (gs [][]Page) {
	pages = slices.Clone(pages)
	slices.SortStableFunc(pages, func(a, b Page) int { return cmp.Compare(b.Size, a.Size) })
	for len(pages) > 0 {
		n := 1
		for n < len(pages) && pages[n].Size == pages[0].Size {
			n++
		}
		gs = append(gs, pages[:n])
		pages = pages[n:]
	}
	return gs
}

// Gaps gives the sizes of what is left of the runs when the pages are laid into
// them. What fits nowhere counts too: as much will be created in its place.
func Gaps(runs []PageRun, pages []Page) (gaps []int64) {
	filled, left := Fill(runs, pages, 0)
	var more int64
	for _, p := range left {
		more += p.Size
	}
	for _, p := range filled {
		if p.Handle == 0 && p.Size > more {
			gaps = append(gaps, p.Size-more)
			more = 0
		} else if p.Handle == 0 {
			more -= p.Size
		}
	}
	return gaps
}
