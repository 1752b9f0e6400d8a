package allocator_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

var histories = flag.Int("histories", 1500, "histories for each test of linearizability")

// game is one history being played: a few goroutines at one runtime.
type game struct {
	t      require.TestingT
	rt     *allocator.Runtime
	queue  *metal.SoftQueue // stream 0's
	refuse bool             // sizes are whole pages, and limits are set
	calm   bool             // nothing is reset, measured, opened or closed: credit is of use
	clock  func() int64

	mu      sync.Mutex // never held across a call
	streams [slots]*allocator.Stream
	bufs    []held // anyone may free, grow and record these
	made    int
	log     []porcupine.Operation
}

// held is a buffer, which others may know too.
type held struct {
	allocator.Buffer
	slot, id int
}

// newGame opens the first streams of a history, and brings the ledger to one of
// its ways of counting; nothing else may go on.
func newGame(t require.TestingT, rt *allocator.Runtime, q *metal.SoftQueue, seed uint64, refuse bool) (*game, modelState) {
	rng := rand.New(rand.NewPCG(seed, players))
	g := &game{t: t, rt: rt, queue: q, refuse: refuse, calm: rng.IntN(2) == 0}
	var events atomic.Int64
	g.clock = func() int64 { return events.Add(1) }
	g.open(0)
	g.open(1)
	rt.ResetPeakMemory()
	_, err := rt.SetCacheLimit(allocator.DefaultLimit)
	require.NoError(t, err)
	if refuse {
		_, err := rt.SetMemoryLimit(6 * page)
		require.NoError(t, err)
	}
	switch rng.IntN(3) {
	case 1: // one stream at work below the peak
		g.warm(3, 0)
		for range rng.IntN(12) {
			g.warm(1, 0)
		}
	case 2: // both
		g.warm(3, 0, 1)
		for range rng.IntN(12) {
			g.warm(1, 0)
			g.warm(1, 1)
		}
	}
	return g, g.first()
}

// warm has each of the streams hold n pages, all at a time.
func (g *game) warm(n int, slots ...int) {
	var bs []allocator.Buffer
	for _, slot := range slots {
		for range n {
			b, err := g.streams[slot].Malloc(ctx, page)
			require.NoError(g.t, err)
			bs = append(bs, b)
		}
	}
	require.NoError(g.t, allocator.FreeAll(bs))
}

// first is what the history begins with.
func (g *game) first() (s modelState) {
	now := g.rt.Snapshot()
	s.limit, s.cacheLimit = now.Limits.Memory, now.Limits.Cache
	s.peak, s.poolPeak = now.Total.Peak, now.Streams[0].Peak
	for i, r := range now.Streams[1:] {
		s.streams[i] = streamState{open: true, peak: r.Peak}
	}
	s.top = now.Total.Reserved
	return s
}

func (g *game) open(slot int) {
	opts := []allocator.StreamOption{allocator.WithName(string(rune('0' + slot)))}
	if slot == 0 {
		opts = append(opts, allocator.WithHandle(g.queue.Handle()))
	}
	s, err := g.rt.NewStream(opts...)
	require.NoError(g.t, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams[slot] = s
}

// end gives all back, so that another history can begin; pages that a queue has
// still to pass follow by themselves.
func (g *game) end() {
	for _, b := range g.bufs {
		if err := b.Free(); !errors.Is(err, allocator.ErrDoubleFree) {
			require.NoError(g.t, err)
		}
	}
	g.queue.CompleteAll()
	require.NoError(g.t, g.rt.Settle(ctx))
	for _, s := range g.streams {
		if s != nil {
			require.NoError(g.t, s.Close(ctx))
		}
	}
	total := identity(g.t, g.rt).Total
	require.Zero(g.t, total.Active+total.Buffers+total.Slack)
}

// player is one goroutine of the game.
type player struct {
	*game
	id     int
	rng    *rand.Rand
	inSpan bool
}

func (g *game) players(seed uint64) (fs []func()) {
	n := players
	if g.refuse {
		n-- // its operations have more parts, which the checker feels
	}
	for id := range n {
		p := &player{game: g, id: id, rng: rand.New(rand.NewPCG(seed, uint64(id)))}
		fs = append(fs, func() { p.play(7) })
	}
	return fs
}

// did notes an operation that took effect once between call and now.
func (p *player) did(call int64, o op, outcome any) { p.dids(call, outcome, o) }

// dids notes an operation in several parts, which have one outcome.
func (p *player) dids(call int64, outcome any, parts ...op) {
	now := p.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range parts {
		o.player = p.id
		p.log = append(p.log, porcupine.Operation{ClientId: p.id, Input: o, Output: outcome, Call: call, Return: now})
	}
}

func (p *player) play(n int) {
	for range n {
		most := 32
		if p.calm {
			most = 26
		}
		switch k := p.rng.IntN(most); {
		case k < 10:
			p.malloc()
		case k < 17:
			p.free()
		case k < 19 && !p.refuse:
			p.another()
		case k < 26:
			p.ask()
		case k < 28:
			p.reset()
		case k < 30:
			p.measure()
		case k < 31:
			p.openOrClose()
		default:
			p.setLimit()
		}
	}
}

func (p *player) stream() (slot int, s *allocator.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if slot = p.rng.IntN(slots); p.streams[slot] != nil {
			return slot, p.streams[slot]
		}
	}
}

// gameDevice has a handle per page where mallocs can be refused: with larger ones a
// malloc under way can hold more, for a moment, than it asks for.
func gameDevice(refuse bool) sim.Config {
	if refuse {
		return sim.Config{HandleSize: page}
	}
	return sim.Config{}
}
