package allocator_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/internal/seam/simseam"
	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// meter sits between the runtime and its device: it counts what the device has
// given, and compares it at each take with the memory limit.
//
// A limit binds what is promised while it is in force, and a promise is kept after
// the limit has been lowered. So the meter compares with the highest limit since
// the oldest miss that is under way began. While a limit is being set, both are in
// force.
//
// A page that is larger than what a miss lacks is given back and as much as it
// lacks taken anew. Where reserved is above a lowered limit that is no growth: it
// may go on, up to what was given before the page went back.
type meter struct {
	mu      sync.Mutex // never held across a call
	given   int64
	before  int64 // what was given when the present row of returns and takes began; 0: none
	failed  bool  // the last call was a take that failed
	clock   int64
	limits  []term
	misses  map[int64]struct{} // those under way, by when they began
	full    int                // takes that left not a byte
	failure error
}

// term is a limit's time in force.
type term struct{ limit, from, to int64 }

const still = math.MaxInt64

func newMeter(limit int64) *meter {
	return &meter{limits: []term{{limit, 0, still}}, misses: map[int64]struct{}{}}
}

// take counts n bytes that the device has just given.
func (m *meter) take(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.given += n
	oldest := m.clock
	for began := range m.misses {
		oldest = min(oldest, began)
	}
	most := m.before
	for _, l := range m.limits {
		if l.to >= oldest {
			most = max(most, l.limit)
		}
	}
	if m.given == most {
		m.full++
	}
	if m.given > most {
		m.failure = errors.Join(m.failure, errors.New("over the limit"))
	}
}

func (m *meter) back(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = max(m.before, m.given)
	m.given -= n
}

// other notes another call than a take or a return; one that takes when the device
// is full is made again after some more returns.
func (m *meter) other() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.failed {
		m.before = 0
	}
	m.failed = false
}

func (m *meter) malloc(s *allocator.Stream, n int64) (allocator.Buffer, error) {
	m.mu.Lock()
	m.clock++
	began := m.clock
	m.misses[began] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.misses, began)
	}()
	return s.Malloc(ctx, n)
}

// set is for one goroutine.
func (m *meter) set(rt *allocator.Runtime, limit int64) error {
	m.mu.Lock()
	m.clock++
	last := len(m.limits) - 1
	m.limits = append(m.limits, term{limit, m.clock, still})
	m.mu.Unlock()
	_, err := rt.SetMemoryLimit(limit)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	m.limits[last].to = m.clock - 1
	return err
}

// metered is called by one goroutine at a time, as the runtime calls a Pager.
type metered struct {
	*sim.Device
	*meter
	sizes map[metal.Handle]int64
}

func (d metered) Create(n int64) (metal.Handle, error) {
	h, err := d.Device.Create(n)
	if err == nil {
		d.sizes[h] = n
		d.take(n)
	} else {
		d.failed = true
	}
	return h, err
}

func (d metered) Map(r metal.Range, offset int64, hs []metal.Handle) error {
	d.other()
	return d.Device.Map(r, offset, hs)
}

func (d metered) Unmap(r metal.Range, offset, size int64) error {
	d.other()
	return d.Device.Unmap(r, offset, size)
}

func (d metered) Release(h metal.Handle) error {
	err := d.Device.Release(h)
	if err == nil {
		d.back(d.sizes[h])
	}
	return err
}

type meteredSegments struct {
	*sim.SegmentDevice
	*meter
}

func (d meteredSegments) Alloc(n int64) (metal.Segment, error) {
	s, err := d.SegmentDevice.Alloc(n)
	if err == nil {
		d.take(s.Size)
	}
	d.other()
	return s, err
}

func (d meteredSegments) Free(s metal.Segment) error {
	err := d.SegmentDevice.Free(s)
	if err == nil {
		d.back(s.Size)
	}
	return err
}

const tight = 12 * page // the limit to begin with

// newMetered gives a device of either kind, whose calls may fail.
func newMetered(t *testing.T, rng *rand.Rand, m *meter, hook func(sim.Call)) metal.Device {
	dev, err := sim.NewSegments(sim.Config{})
	require.NoError(t, err)
	var wrapped metal.Device = meteredSegments{dev, m}
	if rng.IntN(3) > 0 {
		paged := simDevice(t, sim.Config{})
		wrapped, dev = metered{paged, m, map[metal.Handle]int64{}}, paged.SegmentDevice
	}
	dev.Hook(hook)
	if rng.IntN(2) == 0 {
		for _, call := range []sim.Call{sim.CallCreate, sim.CallMap, sim.CallRelease, sim.CallUnmap, sim.CallAlloc, sim.CallFree} {
			dev.FailNext(call, 1+rng.IntN(10), nil)
			dev.PanicNext(call, 1+rng.IntN(20))
		}
	}
	return wrapped
}

// crowd is a few goroutines that want more than there is.
func (m *meter) crowd(t require.TestingT, rt *allocator.Runtime, seed uint64, n int) (fs []func()) {
	var streams []*allocator.Stream
	for range 3 {
		s, err := rt.NewStream()
		require.NoError(t, err)
		streams = append(streams, s)
	}
	for id := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, id))
		fs = append(fs, func() {
			var held []allocator.Buffer
			for range n {
				switch k := rng.IntN(16); {
				case k < 9:
					b, err := m.malloc(streams[rng.IntN(3)], []int64{700, 700, page, 3 * page, 2*page + 1}[rng.IntN(5)])
					if err == nil {
						held = append(held, b)
					}
				case k < 14 && len(held) > 0:
					i := rng.IntN(len(held))
					require.NoError(t, held[i].Free())
					held = append(held[:i], held[i+1:]...)
				case k < 15 && id == 0:
					require.NoError(t, m.set(rt, page*rng.Int64N(16)))
				case id == 1:
					_, err := rt.SetCacheLimit([]int64{0, 2 * page, allocator.DefaultLimit}[rng.IntN(3)])
					require.NoError(t, err)
				case id == 2:
					_, err := rt.ClearCache()
					require.NoError(t, err)
				}
			}
			require.NoError(t, allocator.FreeAll(held))
		})
	}
	return fs
}

// verdict is for the end.
func (m *meter) verdict(t require.TestingT, rt *allocator.Runtime, seed uint64) {
	require.NoError(t, m.failure, "-seed %d", seed)
	var most int64
	for _, l := range m.limits {
		most = max(most, l.limit)
	}
	require.LessOrEqual(t, rt.Snapshot().Total.ReservedPeak, most, "-seed %d", seed)
}

func closeRepeatedly(t require.TestingT, rt *allocator.Runtime) {
	var err error
	for range 20 { // the device may refuse and panic a few times
		if err = rt.Close(ctx); err == nil {
			break
		}
	}
	require.NoError(t, err)
}

// Under Refuse what the device has given never is above the limit in force, not by
// a byte and not for an instant.
func TestNeverOverTheLimit(t *testing.T) {
	full := 0
	for seed := *firstSeed; seed < *firstSeed+40; seed++ {
		m := newMeter(tight)
		dev := newMetered(t, rand.New(rand.NewPCG(seed, 0)), m, func(sim.Call) {})
		rt, err := allocator.Open(dev, allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(tight))
		require.NoError(t, err)
		var wg sync.WaitGroup
		for _, f := range m.crowd(offTest{t}, rt, seed, 200) {
			wg.Go(f)
		}
		within(t, wg.Wait)
		closeRepeatedly(t, rt)
		m.verdict(t, rt, seed)
		require.Zero(t, m.given)
		full += m.full
	}
	require.Positive(t, full, "the limit is reached")
}

// The same under the simulated scheduler.
func TestNeverOverTheLimitInSimulation(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	full := 0
	for seed := *firstSeed; seed < *firstSeed+uint64(*histories)/4; seed++ {
		s := simseam.New(seed)
		m := newMeter(tight)
		dev := newMetered(t, rand.New(rand.NewPCG(seed, 0)), m, func(sim.Call) { s.Yield() })
		s.Go(func() {
			rt, err := allocator.Open(dev, allocator.WithSeam(s), allocator.WithActorSystem(sys),
				allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(tight))
			require.NoError(t, err)
			simulateAll(s, m.crowd(t, rt, seed, 20))
			closeRepeatedly(t, rt)
			m.verdict(t, rt, seed)
		})
		preempt(s, seed)
		var err error
		within(t, func() { err = s.Run() })
		steps.Preempt(nil)
		require.NoError(t, err)
		require.Zero(t, m.given)
		full += m.full
	}
	require.Positive(t, full, "the limit is reached")
}
