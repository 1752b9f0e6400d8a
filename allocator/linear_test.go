package allocator_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

// figureOp is one call on a runtime or a stream.
type figureOp struct {
	kind  string // malloc, free, active, peak, reset
	bytes int64  // of malloc and free
}

type figureState struct{ active, peak int64 }

// figureModel says what active and peak are, one operation after the other.
var figureModel = porcupine.Model{
	Init: func() any { return figureState{} },
	Step: func(state, input, output any) (bool, any) {
		s, op := state.(figureState), input.(figureOp)
		switch op.kind {
		case "malloc":
			s.active += op.bytes
			s.peak = max(s.peak, s.active)
		case "free":
			s.active -= op.bytes
		case "active":
			return output == s.active, s
		case "peak":
			return output == s.peak, s
		case "reset":
			s.peak = 0
		}
		return true, s
	},
}

// figures is what runtimes and streams answer alike.
type figures interface {
	ActiveMemory() int64
	PeakMemory() int64
	ResetPeakMemory()
}

// Active and peak are linearizable, of the runtime over all streams and of each
// stream, also when buffers are freed elsewhere and mallocs miss.
func TestLinearizable(t *testing.T) {
	histories := 300
	if testing.Short() {
		histories = 50
	}
	rt, _ := openSim(t, sim.Config{}, allocator.WithCacheLimit(4*page))
	a, b := newStream(t, rt), newStream(t, rt)
	for i := range histories {
		seed := *firstSeed + uint64(i)
		for _, c := range []struct {
			of      figures
			streams []*allocator.Stream
		}{{rt, []*allocator.Stream{a, b}}, {a, []*allocator.Stream{a}}} {
			rt.ResetPeakMemory()
			a.ResetPeakMemory()
			h := history(t, seed, c.of, c.streams)
			require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(figureModel, h, long), "seed %d: %v", seed, h)
		}
	}
}

func history(t *testing.T, seed uint64, of figures, streams []*allocator.Stream) (all []porcupine.Operation) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for id := range 3 {
		rng := rand.New(rand.NewPCG(seed, uint64(id)))
		wg.Go(func() {
			var mine []porcupine.Operation
			do := func(op figureOp, f func() int64) {
				call := time.Since(start)
				out := f()
				mine = append(mine, porcupine.Operation{
					ClientId: id, Input: op, Output: out, Call: int64(call), Return: int64(time.Since(start)),
				})
			}
			var held []allocator.Buffer
			drop := func() {
				b := held[0]
				held = held[1:]
				do(figureOp{"free", b.Capacity()}, func() int64 {
					if err := b.Free(); err != nil {
						t.Error(err)
					}
					return 0
				})
			}
			for range 8 {
				switch k := rng.IntN(8); {
				case k < 3:
					n := 512 * (1 + rng.Int64N(5000))
					do(figureOp{"malloc", n}, func() int64 {
						b, err := streams[rng.IntN(len(streams))].Malloc(ctx, n)
						if err != nil {
							t.Error(err)
						}
						held = append(held, b)
						return 0
					})
				case k < 4 && len(held) > 0:
					drop()
				case k < 6:
					do(figureOp{kind: "active"}, of.ActiveMemory)
				case k < 7:
					do(figureOp{kind: "peak"}, of.PeakMemory)
				default:
					do(figureOp{kind: "reset"}, func() int64 { of.ResetPeakMemory(); return 0 })
				}
			}
			for len(held) > 0 {
				drop()
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return all
}

// The checker must be able to say no.
func TestLinearizabilityCheckerFails(t *testing.T) {
	op := func(at int64, kind string, bytes, out int64) porcupine.Operation {
		return porcupine.Operation{Input: figureOp{kind, bytes}, Output: out, Call: at, Return: at + 1}
	}
	require.True(t, porcupine.CheckOperations(figureModel, []porcupine.Operation{
		op(0, "malloc", 512, 0), op(2, "free", 512, 0), op(4, "peak", 0, 512), op(6, "reset", 0, 0), op(8, "peak", 0, 0),
	}))
	require.False(t, porcupine.CheckOperations(figureModel, []porcupine.Operation{
		op(0, "malloc", 512, 0), op(2, "free", 512, 0), op(4, "peak", 0, 0),
	}))
}
