package allocator_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/seam/simseam"
	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed of the simulated runs")
	seeds     = flag.Uint64("seeds", 300, "how many simulated runs")
)

// The whole runtime under a scheduler that draws every choice from a seed.
func TestSchedules(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	traces := map[uint64]bool{}
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		trace := schedule(t, sys, seed)
		if seed%10 == 0 {
			require.Equal(t, trace, schedule(t, sys, seed), "seed %d: same seed, same run", seed)
		}
		traces[trace] = true
	}
	require.Greater(t, uint64(len(traces)), *seeds*9/10, "seeds differ")
}

func schedule(t *testing.T, sys *actors.System, seed uint64) (trace uint64) {
	t.Helper()
	s := simseam.New(seed)
	s.Go(func() {
		w := &world{t: t, sim: s, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), done: s.NewGate()}
		w.run(sys)
	})
	steps.Preempt(s.Yield) // with the build tag: at every step of mailboxes, ledger and inboxes
	defer steps.Preempt(nil)
	var err error
	within(t, func() { err = s.Run() })
	require.NoError(t, err)
	require.False(t, t.Failed(), "seed %d", seed)
	return s.Trace()
}

// world is one run: a few workers on a few streams, somebody who cancels, and
// Close, sometimes amid all that.
type world struct {
	t       *testing.T
	sim     *simseam.Sim
	seed    uint64
	rng     *rand.Rand
	dev     device
	rt      *allocator.Runtime
	queue   *metal.SoftQueue
	streams []*allocator.Stream
	cancels []context.CancelFunc
	shared  []allocator.Buffer // anyone may free these
	limited bool               // stream a's own limit is never passed
	left    int                // workers
	closing bool
	done    interface {
		Open()
		Wait()
	}
}

const tenant = 9 * page // bounds stream a

// relieve is the program's pressure hook: it frees, mallocs, clears and panics.
func (w *world) relieve(need int64) (freed int64) {
	w.sim.Yield()
	switch w.rng.IntN(4) {
	case 0:
		panic("hook blew up")
	case 1:
		if b, err := w.streams[1].Malloc(ctx, 4*page); err == nil {
			require.NoError(w.t, b.Free())
		}
	case 2:
		_, _ = w.rt.ClearCache()
	}
	for n := len(w.shared); n > 0 && freed < need; n = len(w.shared) {
		b := w.shared[n-1]
		w.shared = w.shared[:n-1]
		freed += b.Capacity()
		require.NoError(w.t, b.Free())
	}
	return freed
}

// check looks at the books.
func (w *world) check() {
	identity(w.t, w.rt)
	if r := w.streams[0].ReservedMemory(); w.limited {
		require.LessOrEqual(w.t, r, int64(tenant))
	}
}

func (w *world) run(sys *actors.System) {
	dev, err := sim.NewSegments(sim.Config{Memory: 48 * page})
	require.NoError(w.t, err)
	w.dev = dev
	if w.rng.IntN(3) > 0 {
		paged := simDevice(w.t, sim.Config{Memory: 24 * page})
		w.dev, dev = paged, paged.SegmentDevice
	}
	if w.rng.IntN(4) == 0 {
		for _, call := range []sim.Call{sim.CallCreate, sim.CallMap, sim.CallRelease, sim.CallUnmap, sim.CallAlloc, sim.CallFree} {
			switch w.rng.IntN(4) {
			case 0:
				dev.FailNext(call, 1+w.rng.IntN(8), nil)
			case 1:
				dev.PanicNext(call, 1+w.rng.IntN(8))
			}
		}
	}
	dev.Hook(func(sim.Call) { w.sim.Yield() }) // a slow device
	policy := []allocator.Policy{allocator.Guide, allocator.Refuse}[w.rng.IntN(2)]
	w.limited = policy == allocator.Refuse
	w.rt, err = allocator.Open(w.dev, allocator.WithSeam(w.sim), allocator.WithActorSystem(sys),
		allocator.WithPolicy(policy), allocator.OnPressure(w.relieve),
		allocator.WithMemoryLimit([]int64{8 * page, allocator.DefaultLimit}[w.rng.IntN(2)]),
		allocator.WithCacheLimit([]int64{0, 3 * page, allocator.DefaultLimit}[w.rng.IntN(3)]))
	require.NoError(w.t, err)
	w.queue, err = w.dev.NewQueue()
	require.NoError(w.t, err)
	for _, opts := range [][]allocator.StreamOption{
		{allocator.WithName("a"), allocator.WithStreamMemoryLimit(tenant), allocator.WithStreamCacheLimit(2 * page)},
		{allocator.WithName("b")},
		{allocator.WithHandle(w.queue.Handle())},
	} {
		s, err := w.rt.NewStream(opts...)
		require.NoError(w.t, err)
		w.streams = append(w.streams, s)
	}
	const workers = 3
	w.left, w.closing = workers+1, w.rng.IntN(2) == 0
	for i := range uint64(workers) {
		w.sim.Go(func() {
			w.work(rand.New(rand.NewPCG(w.seed, i+2)))
			w.end()
		})
	}
	w.sim.Go(func() {
		rng := rand.New(rand.NewPCG(w.seed, 100))
		for i := 0; w.left > 1 || w.closing; i++ { // the GPU, and the callers who lose patience
			w.sim.Yield()
			if n := len(w.cancels); n > 0 && rng.IntN(10) == 0 {
				w.cancels[rng.IntN(n)]()
			}
			w.queue.Complete(uint64(i / 20))
		}
		w.end()
	})
	if w.closing {
		w.close()
	}
	w.done.Wait()
	w.finish()
}

func (w *world) end() {
	if w.left--; w.left == 0 {
		w.done.Open()
	}
}

// close closes the runtime amid the traffic.
func (w *world) close() {
	c, cancel := context.WithCancel(ctx)
	w.cancels = append(w.cancels, cancel)
	for range w.rng.IntN(40) {
		w.sim.Yield()
	}
	_ = w.rt.Close(c)
	w.closing = false
}

func (w *world) finish() {
	w.queue.CompleteAll()
	for n := len(w.shared); n > 0; n = len(w.shared) { // a hook may still be at it too
		b := w.shared[n-1]
		w.shared = w.shared[:n-1]
		require.NoError(w.t, b.Free())
	}
	identity(w.t, w.rt)
	var err error
	for range 4 { // the device may refuse and panic a few times
		if err = w.rt.Close(ctx); err == nil {
			break
		}
	}
	require.NoError(w.t, err)
	total := identity(w.t, w.rt).Total
	require.Zero(w.t, total.Active+total.Reserved)
	u, err := w.dev.Usage()
	require.NoError(w.t, err)
	require.Zero(w.t, u.Taken)
	require.NoError(w.t, w.dev.Close())
	for _, cancel := range w.cancels {
		cancel()
	}
}

var expected = []error{
	allocator.ErrClosed, allocator.ErrOutOfMemory, allocator.ErrLimitExceeded, context.Canceled,
	allocator.ErrNoRoom, allocator.ErrBusy, allocator.ErrUnsupported,
}

func (w *world) work(rng *rand.Rand) {
	var own []allocator.Buffer
	take := func() allocator.Buffer {
		pool := &own
		if len(w.shared) > 0 && (len(own) == 0 || rng.IntN(2) == 0) {
			pool = &w.shared
		}
		if len(*pool) == 0 {
			return allocator.Buffer{}
		}
		i := rng.IntN(len(*pool))
		b := (*pool)[i]
		*pool = append((*pool)[:i:i], (*pool)[i+1:]...)
		return b
	}
	for range 12 {
		s := w.streams[rng.IntN(len(w.streams))]
		switch rng.IntN(16) {
		case 0, 1, 2, 3, 4:
			c, cancel := context.WithCancel(ctx)
			w.cancels = append(w.cancels, cancel)
			b, err := s.Malloc(c, []int64{1000, page, 3 * page, 5*page + 1}[rng.IntN(4)])
			switch {
			case err != nil:
				w.explain(err)
				require.Equal(w.t, allocator.Buffer{}, b)
			case rng.IntN(2) == 0:
				own = append(own, b)
			default:
				w.shared = append(w.shared, b)
			}
		case 5, 6, 7:
			if b := take(); b != (allocator.Buffer{}) {
				if rng.IntN(3) == 0 {
					w.queue.Submit()
					require.NoError(w.t, b.RecordUse(w.streams[2]))
				}
				require.NoError(w.t, b.Free())
				if b.Size() > 0 {
					require.ErrorIs(w.t, b.Free(), allocator.ErrDoubleFree)
				}
			}
		case 8:
			_, err := w.rt.ClearCache()
			require.NoError(w.t, err)
		case 9:
			_, err := w.rt.SetCacheLimit([]int64{0, 2 * page, allocator.DefaultLimit}[rng.IntN(3)])
			require.NoError(w.t, err)
		case 10:
			w.check()
		case 11:
			if rng.IntN(3) == 0 {
				require.NoError(w.t, s.Close(ctx))
			}
		case 12, 13:
			own = append(own, w.several(rng, s)...)
		case 14:
			if b := take(); b != (allocator.Buffer{}) {
				if b = w.grow(rng, b); b != (allocator.Buffer{}) {
					own = append(own, b)
				}
			}
		case 15:
			b, err := s.MallocWith(ctx, page, allocator.MallocOptions{Room: 6 * page})
			if err != nil {
				w.explain(err)
				break
			}
			own = append(own, b)
		}
	}
	require.NoError(w.t, allocator.FreeAll(own))
	w.check()
}

// cancelable is a ctx that may end at any time.
func (w *world) cancelable() context.Context {
	c, cancel := context.WithCancel(ctx)
	w.cancels = append(w.cancels, cancel)
	return c
}

func (w *world) several(rng *rand.Rand, s *allocator.Stream) []allocator.Buffer {
	sizes := []int64{page, 700, 0, 3 * page, 2*page + 1}[rng.IntN(3):]
	out := make([]allocator.Buffer, len(sizes))
	if err := s.MallocAll(w.cancelable(), sizes, out); err != nil {
		w.explain(err)
		require.Equal(w.t, make([]allocator.Buffer, len(sizes)), out)
		return nil
	}
	return out
}

// grow grows a buffer, while somebody else may grow it too, or free it.
func (w *world) grow(rng *rand.Rand, b allocator.Buffer) allocator.Buffer {
	rival := rng.IntN(4)
	over := w.sim.NewGate()
	w.sim.Go(func() {
		defer over.Open()
		switch rival {
		case 0:
			require.NoError(w.t, b.Free())
		case 1:
			if _, err := b.Grow(w.cancelable(), b.Size()+page); err != nil && !errors.Is(err, allocator.ErrInvalidSize) {
				w.explain(err)
			}
		}
	})
	c := ctx
	if rng.IntN(2) == 0 {
		c = w.cancelable()
	}
	_, err := b.Grow(c, b.Size()+int64(rng.IntN(3*page)))
	over.Wait()
	switch {
	case rival == 0 && errors.Is(err, allocator.ErrDoubleFree), errors.Is(err, allocator.ErrInvalidSize): // grown already
	case err != nil:
		w.explain(err)
	}
	if rival == 0 {
		return allocator.Buffer{}
	}
	return b
}

// explain: a malloc fails for a reason that this run has.
func (w *world) explain(err error) {
	for _, e := range expected {
		if errors.Is(err, e) {
			return
		}
	}
	require.ErrorContains(w.t, err, "scripted panic")
}
