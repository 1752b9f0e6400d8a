package actors

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// mover is a program in which pages move between streams and early within one, in
// whole and in parts.
type mover struct {
	*lending
	name string
	a, b *Stream
	q    *metal.SoftQueue
	live []Buffer
}

// books: what has gone back may be booked a little later, never sooner.
func (m *mover) books() {
	m.t.Helper()
	require.NoError(m.t, m.core.ledger.Check(false), m.name)
	u, err := m.dev.Usage()
	require.NoError(m.t, err)
	require.GreaterOrEqual(m.t, m.core.ReservedMemory(), u.Taken, m.name)
	for _, s := range []*Stream{m.a, m.b} {
		require.NoError(m.t, inTurn(s, func() { require.NoError(m.t, s.heap.Check(), m.name) }))
	}
}

func (m *mover) take(s *Stream, size int64) {
	m.t.Helper()
	x, err := s.Malloc(context.Background(), size)
	if err == nil {
		m.live = append(m.live, x)
	} else {
		require.Equal(m.t, Buffer{}, x, m.name)
	}
	m.books()
}

func (m *mover) drop(i int) {
	m.t.Helper()
	if i < len(m.live) {
		require.NoError(m.t, m.live[i].Free(), m.name)
		m.live = append(m.live[:i], m.live[i+1:]...)
	}
	m.books()
}

// prepare leaves free handles of several sizes with both streams.
func (m *mover) prepare() {
	m.t.Helper()
	for _, n := range []int64{3, 1, 2, 1} {
		m.take(m.a, n*piece)
		m.take(m.b, n*piece)
	}
	m.drop(0)
	m.drop(3)
	m.q.CompleteAll()
}

func (m *mover) run() {
	m.t.Helper()
	m.take(m.b, 4*piece)     // a's three and one more
	m.take(m.b, 1000)        // breaks one up
	m.take(m.a, 2*piece+100) // between two streams the other way
	m.q.Submit()
	for range 4 {
		m.drop(0)
	}
	m.take(m.a, 1000) // early
	m.take(m.a, 5*piece)
	m.drop(len(m.live) - 1)
	m.take(m.b, 3*piece)
	m.q.CompleteAll()
	m.take(m.b, 6*piece) // what parted has to be unmapped
}

func (m *mover) end() {
	m.t.Helper()
	for len(m.live) > 0 {
		m.drop(0)
	}
	m.q.CompleteAll()
	for range 6 { // the device may still refuse
		_, _ = m.core.ClearCache()
	}
	m.eventually(func() bool { return m.core.ReservedMemory() == 0 }, m.name)
	require.NoError(m.t, m.core.ledger.Check(true), m.name)
	m.check()
}

// Each call of the moves fails, or panics: the books stay exact, and nothing stays
// behind. Then two of them at a time.
func TestMovesFail(t *testing.T) {
	sys := NewSystem(zap.NewNop())
	defer sys.Shutdown()
	calls := []sim.Call{sim.CallUnmap, sim.CallCreate, sim.CallMap, sim.CallRelease, sim.CallReserve}
	for _, handle := range []int64{piece, 64 << 20} {
		for _, call := range calls {
			for n := 1; n <= 8; n++ {
				for _, panics := range []bool{false, true} {
					moves(t, sys, handle, func(dev *sim.Device) string {
						script(dev, call, n, panics)
						return fmt.Sprintf("%s-%d-%v, handles of %d", call, n, panics, handle)
					})
				}
			}
		}
		for seed := range uint64(100) {
			rng := rand.New(rand.NewPCG(seed, uint64(handle)))
			moves(t, sys, handle, func(dev *sim.Device) string {
				for range 2 + rng.IntN(3) {
					script(dev, calls[rng.IntN(len(calls))], 1+rng.IntN(8), rng.IntN(2) == 0)
				}
				return fmt.Sprintf("seed %d, handles of %d", seed, handle)
			})
		}
	}
}

func script(dev *sim.Device, call sim.Call, n int, panics bool) {
	if panics {
		dev.PanicNext(call, n)
	} else {
		dev.FailNext(call, n, metal.ErrDeviceLost)
	}
}

func moves(t *testing.T, sys *System, handle int64, arm func(*sim.Device) string) {
	t.Helper()
	dev, err := sim.New(sim.Config{HandleSize: handle})
	require.NoError(t, err)
	l := &lending{t: t, dev: &strict{Device: dev}}
	l.core, err = Start(l.dev, Config{System: sys, MemoryLimit: DefaultLimit, CacheLimit: DefaultLimit})
	require.NoError(t, err)
	m := &mover{lending: l}
	m.a, m.q = l.queued()
	m.b = l.stream(nil)
	m.prepare()
	m.name = arm(dev)
	m.run()
	m.end()
	for i := range 4 {
		if err = l.core.Close(context.Background()); err == nil {
			break
		}
		require.Less(t, i, 3, "%s: %v", m.name, err)
	}
	require.NoError(t, dev.Close(), m.name)
	require.Zero(t, l.dev.broken.Load(), "%s: calls against the device's rules", m.name)
}
