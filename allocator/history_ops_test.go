package allocator_test

import (
	"context"
	"errors"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
)

// What the players of a game do.

func (p *player) malloc() {
	slot, s := p.stream()
	asked := 1 + p.rng.Int64N([]int64{2000, 3 * page}[p.rng.IntN(2)])
	var with allocator.MallocOptions
	if p.refuse {
		asked = page * (1 + p.rng.Int64N(3))
	} else if p.rng.IntN(4) == 0 {
		with.Room = 2 * page
	}
	p.mu.Lock()
	p.made++
	o := op{kind: 'm', slot: slot, buf: p.made, n: asked}
	p.mu.Unlock()
	call := p.clock()
	var b allocator.Buffer
	var err error
	if with.Room > 0 {
		b, err = s.MallocWith(ctx, asked, with)
	} else {
		b, err = s.Malloc(ctx, asked)
	}
	outcome := served
	switch {
	case errors.Is(err, allocator.ErrClosed):
		outcome = closed
	case errors.Is(err, allocator.ErrLimitExceeded) && p.refuse:
		outcome = refused
	default:
		require.NoError(p.t, err)
	}
	switch {
	case !p.refuse:
		p.did(call, o, outcome)
	case outcome == refused:
		p.dids(call, outcome, o.as('M'), o.as('N'), o.as('O'))
	default:
		p.dids(call, outcome, o.as('M'), o.as('N'))
	}
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.bufs = append(p.bufs, held{b, slot, o.buf})
	}
}

// some picks a buffer; taken: nobody else will.
func (p *player) some(taken bool) (b held, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bufs) == 0 {
		return held{}, false
	}
	i := p.rng.IntN(len(p.bufs))
	b = p.bufs[i]
	if taken {
		p.bufs = append(p.bufs[:i], p.bufs[i+1:]...)
	}
	return b, true
}

func (p *player) free() {
	b, ok := p.some(p.refuse || p.rng.IntN(4) > 0)
	if !ok {
		p.ask()
		return
	}
	o := op{slot: b.slot, buf: b.id}
	call := p.clock()
	err := b.Free()
	outcome := served
	if errors.Is(err, allocator.ErrDoubleFree) {
		outcome = gone
	} else {
		require.NoError(p.t, err)
	}
	switch {
	case outcome == gone:
		p.did(call, o.as('h'), gone)
	case p.refuse:
		p.dids(call, served, o.as('h'), o.as('F'), o.as('G'))
	default:
		p.dids(call, served, o.as('h'), o.as('f'))
	}
}

// another grows a buffer, or records another stream's use, while others may free
// it.
func (p *player) another() {
	b, ok := p.some(false)
	if !ok {
		p.ask()
		return
	}
	o := op{kind: 'g', slot: b.slot, buf: b.id, n: b.Size() + 1 + p.rng.Int64N(2*page)}
	var err error
	call := p.clock()
	if b.slot != 0 && p.rng.IntN(2) == 0 {
		o.kind, o.n = 'u', 0
		if p.rng.IntN(2) == 0 {
			p.queue.Submit()
		} else {
			p.queue.CompleteAll()
		}
		err = b.RecordUse(p.streams[0])
	} else {
		_, err = b.Grow(ctx, o.n)
	}
	for _, known := range []struct {
		err     error
		outcome string
	}{
		{nil, served},
		{allocator.ErrDoubleFree, gone},
		{allocator.ErrClosed, closed},
		{allocator.ErrInvalidSize, larger},
		{allocator.ErrNoRoom, refused},
		{allocator.ErrBusy, refused},
	} {
		if errors.Is(err, known.err) {
			p.did(call, o, known.outcome)
			return
		}
	}
	require.NoError(p.t, err)
}

func (p *player) ask() {
	slot, s := p.stream()
	call := p.clock()
	switch p.rng.IntN(6) {
	case 0, 1:
		p.did(call, op{kind: 'a'}, p.rt.ActiveMemory())
	case 2:
		p.did(call, op{kind: 'p'}, p.rt.PeakMemory())
	case 3:
		p.did(call, op{kind: 'A', slot: slot}, s.ActiveMemory())
	case 4:
		p.did(call, op{kind: 'P', slot: slot}, s.PeakMemory())
	case 5:
		p.did(call, op{kind: 's'}, p.picture())
	}
}

// picture takes a Snapshot, and checks in passing what holds in each.
func (p *player) picture() (pic picture) {
	s := identity(p.t, p.rt)
	pic.total = sums{s.Total.Active, s.Total.Requested, s.Total.Buffers}
	pic.peak, pic.limit, pic.cacheLimit = s.Total.Peak, s.Limits.Memory, s.Limits.Cache
	for _, r := range s.Streams {
		f := sums{r.Active, r.Requested, r.Buffers}
		if r.Name == "" {
			pic.pool, pic.poolPeak = f, r.Peak
			continue
		}
		slot := r.Name[0] - '0'
		pic.rows[slot], pic.peaks[slot], pic.open[slot] = f, r.Peak, true
	}
	return pic
}

func (p *player) reset() {
	slot, s := p.stream()
	call := p.clock()
	if p.rng.IntN(2) == 0 {
		p.rt.ResetPeakMemory()
		p.did(call, op{kind: 'r'}, nil)
	} else {
		s.ResetPeakMemory()
		p.did(call, op{kind: 'R', slot: slot}, nil)
	}
}

// measure does some operations within a span.
func (p *player) measure() {
	if p.inSpan {
		p.ask()
		return
	}
	p.inSpan = true
	var began, ends, call int64
	call = p.clock()
	sp, err := p.rt.Measure(ctx, "", func(context.Context) error {
		began = p.clock()
		p.play(3)
		ends = p.clock()
		return nil
	})
	require.NoError(p.t, err)
	p.inSpan = false
	now := p.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log,
		porcupine.Operation{ClientId: p.id, Input: op{kind: 'b', player: p.id}, Output: sp.Before, Call: call, Return: began},
		porcupine.Operation{ClientId: p.id, Input: op{kind: 'e', player: p.id}, Output: [2]int64{sp.After, sp.Peak}, Call: ends, Return: now})
}

// openOrClose opens the stream that hasn't been yet, if this player may, or closes
// one for good.
func (p *player) openOrClose() {
	if slot := 2 + p.id; slot < slots && p.id < 2 {
		p.mu.Lock()
		fresh := p.streams[slot] == nil
		p.mu.Unlock()
		if fresh {
			call := p.clock()
			p.open(slot)
			p.did(call, op{kind: 'o', slot: slot}, nil)
			return
		}
	}
	slot, s := p.stream()
	call := p.clock()
	require.NoError(p.t, s.Close(ctx))
	p.did(call, op{kind: 'c', slot: slot}, nil)
}

func (p *player) setLimit() {
	n := page * (3 + p.rng.Int64N(6))
	call := p.clock()
	if !p.refuse {
		previous, err := p.rt.SetCacheLimit(n - 3*page)
		require.NoError(p.t, err)
		p.did(call, op{kind: 'k', n: n - 3*page}, previous)
		return
	}
	previous, err := p.rt.SetMemoryLimit(n)
	require.NoError(p.t, err)
	p.dids(call, previous, op{kind: 'l', n: n}, op{kind: 'L'})
}
