package ledger

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// in and out are one operation of a history.
type in struct {
	kind byte // see step
	row  int
	n    int64
}

type out struct{ a, b, c, d int64 }

const (
	testRows  = 3
	testSpans = 2
)

// state is the sequential ledger.
type state struct {
	active, peak [testRows]int64
	total        int64 // peak
	spans        [testSpans]int64
}

func (s *state) sum() (n int64) {
	for _, a := range s.active {
		n += a
	}
	return n
}

// step says what an operation does and may answer.
func step(before, input, output any) (bool, any) {
	s, i, o := before.(state), input.(in), output.(out)
	var want out
	switch i.kind {
	case 'm':
		s.active[i.row] += i.n
		s.peak[i.row] = max(s.peak[i.row], s.active[i.row])
		a := s.sum()
		s.total = max(s.total, a)
		for k := range s.spans {
			s.spans[k] = max(s.spans[k], a)
		}
	case 'f':
		s.active[i.row] -= i.n
	case 'a':
		want.a = s.sum()
	case 't':
		want = out{a: s.sum(), b: s.total}
	case 'A':
		want.a = s.active[i.row]
	case 'F':
		want = out{s.active[i.row], s.peak[i.row], s.active[i.row] / unit * (unit - waste), 0}
	case 'S': // one picture of all
		want = out{s.sum(), s.total, s.active[i.row], s.sum() / unit * (unit - waste)}
	case 'r':
		s.total = 0
	case 'R':
		s.peak[i.row] = 0
	case 'b':
		s.spans[i.row] = s.sum()
		want.a = s.sum()
	case 'e':
		want = out{a: s.sum(), b: s.spans[i.row]}
	}
	return o == want, s
}

var linear = porcupine.Model{
	Init:              func() any { return state{} },
	Step:              step,
	DescribeOperation: func(i, o any) string { return fmt.Sprintf("%c%d %d → %v", i.(in).kind, i.(in).row, i.(in).n, o) },
}

// player is one goroutine of a history.
type player struct {
	w   *players
	id  int
	rng *rand.Rand
	log []porcupine.Operation
	// avoid is a row whose turn somebody may have; -1: none
	avoid int
}

type players struct {
	l    *Ledger
	rows []*testStream
	now  func() int64
	// between is called by swing where others may come in. A simulation has it make
	// each half of a swing one step: a reader has to be slow to be misled.
	between func()
	mu      sync.Mutex
	held    [testRows]int // blocks of one unit that any player may free
	spans   [testSpans]*Point
}

func newPlayers(now func() int64) *players {
	w := &players{l: New(), now: now, between: func() {}}
	for i := range testRows {
		w.rows = append(w.rows, open(w.l, uint64(i), 1000*unit))
	}
	return w
}

func (p *player) do(i in, f func() out) {
	call := p.w.now()
	o := f()
	p.log = append(p.log, porcupine.Operation{ClientId: p.id, Input: i, Output: o, Call: call, Return: p.w.now()})
}

// warm brings the ledger to a mode: the lease, or shared credit.
func (p *player) warm() {
	w := p.w
	p.malloc(0, 20)
	p.malloc(1, 20)
	p.malloc(2, 20)
	for range p.rng.IntN(18) {
		p.free(p.rng.IntN(testRows), false)
	}
	if p.rng.IntN(2) == 0 {
		for range leaseAfter {
			p.malloc(0, 1)
		}
	}
	_ = w
}

func (p *player) malloc(row, n int) {
	for range n {
		p.do(in{'m', row, unit}, func() out { p.w.rows[row].malloc(unit); return out{} })
		p.w.mu.Lock()
		p.w.held[row]++
		p.w.mu.Unlock()
	}
}

func (p *player) free(row int, elsewhere bool) {
	p.w.mu.Lock()
	ok := p.w.held[row] > 0
	if ok {
		p.w.held[row]--
	}
	p.w.mu.Unlock()
	if !ok {
		return
	}
	p.do(in{'f', row, unit}, func() out {
		if elsewhere {
			p.w.rows[row].leave(unit)
		} else {
			p.w.rows[row].free(unit)
		}
		return out{}
	})
}

// play does n operations; askers ask more than they change.
func (p *player) play(n int, asks bool) {
	for range n {
		row := p.rng.IntN(testRows)
		k := p.rng.IntN(100)
		switch {
		case asks || k >= 90:
			p.asks(row)
		case k >= 45:
			p.free(row, k%2 == 0 || row == p.avoid)
		case row != p.avoid:
			p.malloc(row, 1)
		}
	}
}

// asks asks for figures, resets or measures.
func (p *player) asks(row int) {
	k := p.rng.IntN(100)
	if p.avoid >= 0 && uint32(p.w.rows[p.avoid].inflight.Load()) != 0 {
		k %= 70 // the others wait for a free that is half done
	}
	switch {
	case k < 30:
		p.do(in{kind: 'a'}, func() out { return out{a: p.w.l.Active()} })
	case k < 60:
		p.do(in{kind: 't'}, func() out { t := p.w.l.Totals(); return out{a: t.Active, b: t.Peak} })
	case k < 70:
		p.do(in{kind: 'A', row: row}, func() out { return out{a: p.w.rows[row].Active()} })
	case k < 78:
		p.do(in{kind: 'F', row: row}, func() out {
			f := p.w.l.Figures(&p.w.rows[row].Row)
			return out{f.Active, f.Peak, f.Requested, 0}
		})
	case k < 86:
		p.do(in{kind: 'S', row: row}, func() out {
			total, rows, _ := p.w.l.Snapshot()
			return out{total.Active, total.Peak, rows[row+1].Active, total.Requested}
		})
	case k < 90:
		p.do(in{kind: 'R', row: row}, func() out { p.w.l.ResetPeakOf(&p.w.rows[row].Row); return out{} })
	case k < 93:
		p.do(in{kind: 'r'}, func() out { p.w.l.ResetPeak(); return out{} })
	default:
		p.span()
	}
}

// swing moves one block's worth to and fro between two rows, so that a reader who
// looks at each of them at the right times takes two moments for one.
func (p *player) swing(times int) {
	for range times {
		p.w.between()
		p.free(0, false)
		p.malloc(1, 1)
		p.w.between()
		p.free(1, false)
		p.malloc(0, 1)
	}
	p.w.between()
}

func (p *player) ask(times int) {
	for range times {
		p.do(in{kind: 'a'}, func() out { return out{a: p.w.l.Active()} })
	}
}

// span opens or closes a span that this player alone uses.
func (p *player) span() {
	i := p.id
	if i >= testSpans {
		return
	}
	if point := p.w.spans[i]; point != nil {
		p.w.spans[i] = nil
		p.do(in{kind: 'e', row: i}, func() out { a, top := p.w.l.End(point); return out{a: a, b: top} })
		return
	}
	p.w.spans[i] = &Point{}
	p.do(in{kind: 'b', row: i}, func() out { return out{a: p.w.l.Begin(p.w.spans[i])} })
}

func check(t *testing.T, seed uint64, history []porcupine.Operation) {
	t.Helper()
	if !lawful(history) {
		require.Fail(t, "not linearizable", "seed %d", seed)
	}
}

func lawful(history []porcupine.Operation) bool {
	return porcupine.CheckOperationsTimeout(linear, history, time.Minute) == porcupine.Ok
}

var histories = flagInt("histories", 2000, "histories for each test of linearizability")

// Histories of goroutines that run freely are linearizable.
func TestLinearizable(t *testing.T) {
	for i := range *histories / 4 {
		seed := *firstSeed + uint64(i)
		start := time.Now()
		check(t, seed, record(seed, func() int64 { return int64(time.Since(start)) }, func() {}, func(fs []func()) {
			var wg sync.WaitGroup
			for _, f := range fs {
				wg.Go(f)
			}
			wg.Wait()
		}))
	}
}

// record plays one history; run runs the players side by side.
// Every fourth is one of swings.
func record(seed uint64, now func() int64, between func(), run func([]func())) (all []porcupine.Operation) {
	w := newPlayers(now)
	ps := make([]*player, 4)
	for i := range ps {
		ps[i] = &player{w: w, id: i, rng: rand.New(rand.NewPCG(seed, uint64(i))), avoid: -1}
	}
	var fs []func()
	if seed%4 == 0 {
		ps[0].malloc(2, 8)
		ps[0].malloc(0, 4)
		ps[0].malloc(1, 4)
		for range 8 {
			ps[0].free(2, false)
		}
		ps[0].swing(1) // both have credit now
		w.between = between
		fs = append(fs, func() { ps[0].swing(4) }, func() { ps[1].ask(4) })
	} else {
		ps[0].warm()
		for i, p := range ps {
			fs = append(fs, func() { p.play(12, i >= 2) })
		}
	}
	run(fs)
	for _, p := range ps {
		all = append(all, p.log...)
	}
	return all
}
