package idle

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
)

// pool is a runtime's pages, one byte each, as the streams and the supervisor deal
// with them: hits take the page that was freed last, misses the one freed first.
type pool struct {
	now    int64
	next   int64 // when to look next
	looked int64 // when that was last
	free   []int64
	live   int
	log    Log
	wait   *Patience
	gave   int // pages that went back
	grew   int // pages that were taken
	least  int // free at any time since it was set
}

func newPool(fixed time.Duration) *pool { return &pool{wait: NewPatience(fixed), least: math.MaxInt} }

// run lets time pass, and looks when it is time.
func (p *pool) run(until int64) {
	for p.next <= until {
		p.now = max(p.now, p.next)
		p.look()
	}
	p.now = until
}

func (p *pool) look() {
	var free []Amount
	for _, f := range p.free {
		free = append(free, Amount{Since: f, Bytes: 1})
	}
	slices.SortFunc(free, func(a, b Amount) int { return int(a.Since - b.Since) })
	v := p.log.Look(p.now, p.wait.Now(), free)
	p.wait.Looked(p.now, v.Reused)
	if v.Give > 0 {
		p.wait.Gave(v.Since, v.Give)
		p.log.Left(v.Give)
		slices.Sort(p.free)
		p.free = p.free[v.Give:]
		p.gave += int(v.Give)
	}
	p.looked = p.now
	p.next = p.now + int64(p.wait.Next())
}

// hit takes a page as the cache does, or else misses.
func (p *pool) hit() {
	if len(p.free) == 0 {
		p.miss()
		return
	}
	p.take(len(p.free) - 1)
}

func (p *pool) miss() {
	if len(p.free) == 0 {
		p.live++
		p.grew++
		p.log.Moved(nil, 0)
		p.wait.Grew(p.now, 1)
		p.least = 0
		return
	}
	since := p.free[0]
	p.take(0)
	p.log.Moved([]Amount{{since, 1}}, int64(len(p.free)))
}

func (p *pool) take(i int) {
	p.free = slices.Delete(p.free, i, i+1)
	p.live++
	p.least = min(p.least, len(p.free))
}

func (p *pool) release() {
	p.live--
	p.free = append(p.free, max(p.now, p.looked+1)) // not at the time of a look
}

// burst takes n pages for a while.
func (p *pool) burst(n int, d int64) {
	for range n {
		p.hit()
	}
	p.run(p.now + d)
	for range n {
		p.release()
	}
}

// What is not needed again goes back, after patience and no more than two looks.
func TestGivesBackWhatIsIdle(t *testing.T) {
	for _, fixed := range []time.Duration{0, time.Millisecond, time.Second, 10 * time.Second, time.Hour} {
		p := newPool(fixed)
		p.run(sec)
		p.burst(100, 10*ms)
		freed, patience, look := p.now, p.wait.Now(), int64(p.wait.Next())
		for p.gave == 0 {
			p.run(p.now + ms)
		}
		idle := p.now - freed
		require.GreaterOrEqual(t, idle, patience, fixed)
		require.LessOrEqual(t, idle, patience+2*look+ms, fixed)
		require.Equal(t, 100, p.gave, fixed)
	}
}

// A period below the bound is found out: pages are kept from then on. How often they
// are given back in vain, and what patience settles at, is what the design says.
func TestPeriodic(t *testing.T) {
	for _, period := range []int64{200 * ms, 500 * ms, sec, 3 * sec, 5 * sec, 20 * sec, 45 * sec} {
		p := newPool(0)
		for range 1000 {
			p.burst(100, period/50)
			p.run(p.now + period - period/50)
		}
		t.Logf("period %v: patience %v, given back %d times, grew to %d", time.Duration(period), time.Duration(p.wait.Now()), p.gave/100, p.live+len(p.free))
		require.LessOrEqual(t, p.grew, 2*100, period)
		require.GreaterOrEqual(t, p.wait.Now(), period-period/50, "it waits for the next burst")
		if period >= sec {
			require.LessOrEqual(t, p.wait.Now(), min(4*period+period/2, most), "and not for ever")
		}
	}
}

// Above the bound memory goes back each time, a minute after it was needed at most.
func TestRareBursts(t *testing.T) {
	p := newPool(0)
	for range 20 {
		p.burst(100, sec)
		p.run(p.now + 75*sec)
		require.Empty(t, p.free)
		p.run(p.now + 600*sec)
	}
	require.Equal(t, 20*100, p.grew)
	require.LessOrEqual(t, p.wait.Now(), first, "nothing that went back was missed too early")
}

// Against whoever needs memory again just after it was given back, every time: a
// wrong give-back at least doubles patience, so there are few in a row.
func TestAdversary(t *testing.T) {
	p := newPool(0)
	wrong := 0
	for range 1000 {
		p.burst(10, ms)
		before, freed := p.gave, p.now
		for p.gave == before && p.now-freed < 2*most {
			p.run(p.now + ms)
		}
		if p.now-freed < most {
			wrong++
		}
	}
	t.Logf("%d wrong ones", wrong)
	require.LessOrEqual(t, wrong, 6)
}

// A program that misses all the time takes the page that was freed first, so no page
// gets old; what it has too much of goes back all the same, and no more than that.
func TestTurningOver(t *testing.T) {
	p := newPool(time.Second)
	p.burst(1000, 10*ms) // what only the start needed
	for range 20_000 {
		for range 10 {
			p.miss()
		}
		p.run(p.now + ms)
		for range 10 {
			p.release()
		}
	}
	require.Len(t, p.free, 10, "just what it needs")
	require.Equal(t, 1000, p.grew, "and never too little")
}

// Whatever a program does: what goes back was free all the time for as long as
// patience, as an amount. Only hits: seen by the ages of the pages. Only misses: seen
// as they come. Both: at most too much by what misses moved from one look to the next.
func TestOnlyWhatWasNeverUsed(t *testing.T) {
	for seed := range uint64(30) {
		w := walk{pool: newPool(time.Second), rng: rand.New(rand.NewPCG(seed, 0)), hits: seed%3 != 0, misses: seed%3 != 1}
		w.burst(50, 0)
		for range 3000 {
			w.step()
			if gave, low := w.pass(); w.hits && w.misses {
				require.LessOrEqual(t, gave, low+w.worst, "seed %d", seed)
			} else {
				require.LessOrEqual(t, gave, low, "seed %d", seed)
			}
		}
		require.Positive(t, w.gave, "seed %d", seed)
	}
}

// walk is a program that does this and that.
type walk struct {
	*pool
	rng          *rand.Rand
	hits, misses bool
	moved, worst int64    // by misses since the last look, and at most between two
	lows         []Amount // of each millisecond, the least that was free
}

func (w *walk) step() {
	w.least = len(w.free)
	for range w.rng.IntN(4) {
		switch n := w.rng.IntN(20); {
		case n < 10 && w.live > 0:
			w.release()
		case n == 10 && w.hits:
			n := w.rng.IntN(20)
			for range n {
				w.hit()
			}
			for range n {
				w.release()
			}
		case n < 15 && w.misses && len(w.free) > 0:
			w.miss()
			w.moved++
		case w.hits && len(w.free) > 0:
			w.hit()
		}
	}
	w.lows = append(w.lows, Amount{w.now, int64(w.least)})
	w.worst = max(w.worst, w.moved)
}

// pass lets a millisecond pass; it returns what was given back, and what could be.
func (w *walk) pass() (gave, low int64) {
	before, next := w.gave, w.next
	w.run(w.now + ms)
	if w.next != next {
		w.moved = 0
	}
	w.lows = slices.DeleteFunc(w.lows, func(a Amount) bool { return a.Since < w.now-sec })
	gave, low = int64(w.gave-before), math.MaxInt64
	for i := range w.lows {
		low = min(low, w.lows[i].Bytes)
		w.lows[i].Bytes -= gave
	}
	return gave, low
}

// One page of many that is needed again holds the others back no more.
func TestOnePageCountsForLittle(t *testing.T) {
	p := newPool(0)
	p.burst(1000, ms)
	for range 100 {
		p.run(p.now + 1500*ms)
		p.burst(1, ms)
	}
	require.LessOrEqual(t, len(p.free), 1)
}
