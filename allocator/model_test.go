package allocator_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry"
)

// device is what the model needs of a simulated one.
type device interface {
	metal.Device
	metal.Meter
	metal.SoftQueuer
}

// Random operations against the plainest model of what callers hold.
func TestModel(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	for name, open := range map[string]func() (device, error){
		"2 MiB pages":  func() (device, error) { return sim.New(sim.Config{Memory: 64 << 20}) },
		"64 KiB pages": func() (device, error) { return sim.New(sim.Config{Memory: 64 << 20, PageSize: 64 << 10}) },
		"segments":     func() (device, error) { return sim.NewSegments(sim.Config{Memory: 256 << 20, MaxBuffer: 32 << 20}) },
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				dev, err := open()
				require.NoError(rt, err)
				m := newModel(rt, dev, sys)
				rt.Repeat(rapid.StateMachineActions(m))
				m.end()
			})
		})
	}
}

// count is what the model knows of one stream, or of all.
type count struct{ requested, active, peak, mallocs, frees, buffers int64 }

func (c *count) malloc(sizes ...int64) {
	for _, n := range sizes {
		c.requested += n
		c.active += roundUp(n)
		c.mallocs++
		c.buffers++
	}
	c.peak = max(c.peak, c.active)
}

func (c *count) free(n int64) {
	c.requested -= n
	c.active -= roundUp(n)
	c.frees++
	c.buffers--
}

func roundUp(n int64) int64 { return (n + 511) / 512 * 512 }

type modelStream struct {
	*allocator.Stream
	queue  *metal.SoftQueue // nil: none
	count  count
	closed bool
	memory int64 // the stream's own limits
	cache  int64
}

type modelBuffer struct {
	allocator.Buffer
	s *modelStream
}

type model struct {
	t       *rapid.T
	dev     device
	rt      *allocator.Runtime
	streams []*modelStream
	live    []modelBuffer
	freed   []allocator.Buffer
	total   count
	orphans count // of closed streams
	memory  int64
	cache   int64
}

func newModel(t *rapid.T, dev device, sys *actors.System) *model {
	m := &model{t: t, dev: dev, memory: allocator.NoLimit}
	var err error
	m.cache = rapid.SampledFrom([]int64{allocator.NoLimit, 0, 5 << 20}).Draw(t, "cache limit")
	m.rt, err = allocator.Open(dev, allocator.WithActorSystem(sys), allocator.WithCacheLimit(m.cache),
		allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(m.memory),
		allocator.WithWiredLimit(rapid.SampledFrom([]int64{0, 16 << 20}).Draw(t, "wired limit")))
	require.NoError(t, err)
	m.NewStream(t)
	return m
}

func (m *model) NewStream(t *rapid.T) {
	if len(m.streams) > 6 {
		return
	}
	s := &modelStream{memory: allocator.NoLimit, cache: allocator.NoLimit}
	var opts []allocator.StreamOption
	if rapid.Bool().Draw(t, "with queue") {
		var err error
		s.queue, err = m.dev.NewQueue()
		require.NoError(t, err)
		opts = append(opts, allocator.WithHandle(s.queue.Handle()))
	}
	var err error
	s.Stream, err = m.rt.NewStream(opts...)
	require.NoError(t, err)
	m.streams = append(m.streams, s)
}

func (m *model) stream(t *rapid.T) *modelStream {
	return rapid.SampledFrom(m.streams).Draw(t, "stream")
}

func (m *model) Malloc(t *rapid.T) { m.malloc(t) }

// Malloc again, so that it is drawn more often.
func (m *model) MallocMore(t *rapid.T) { m.malloc(t) }

func (m *model) malloc(t *rapid.T) {
	s := m.stream(t)
	n := rapid.OneOf(
		rapid.Int64Range(1, 3000), rapid.Just(int64(4096)), rapid.Int64Range(1, 3<<20), rapid.Just(int64(0)),
		rapid.Int64Range(1<<20-600, 9<<20), rapid.Just(int64(-3)), rapid.Just(int64(1<<40)),
	).Draw(t, "size")
	b, err := s.Malloc(ctx, n)
	switch {
	case n < 0:
		require.ErrorIs(t, err, allocator.ErrInvalidSize)
	case n > m.dev.Info().MaxBuffer:
		require.ErrorIs(t, err, allocator.ErrTooLarge)
	case s.closed:
		require.ErrorIs(t, err, allocator.ErrClosed)
	case err != nil && (m.memory != allocator.NoLimit || s.memory != allocator.NoLimit):
		require.True(t, errors.Is(err, allocator.ErrLimitExceeded) || errors.Is(err, allocator.ErrOutOfMemory), "%v", err)
	case err != nil && n > 0:
		require.ErrorIs(t, err, allocator.ErrOutOfMemory)
	}
	if err != nil || n == 0 {
		return
	}
	require.Equal(t, n, b.Size())
	m.got(t, s, b)
}

// got books new buffers, all at once.
func (m *model) got(t *rapid.T, s *modelStream, bs ...allocator.Buffer) {
	sizes := make([]int64, len(bs))
	for i, b := range bs {
		require.Equal(t, roundUp(b.Size()), b.Capacity())
		m.disjoint(t, b)
		m.live = append(m.live, modelBuffer{b, s})
		sizes[i] = b.Size()
	}
	s.count.malloc(sizes...)
	m.total.malloc(sizes...)
}

func (m *model) disjoint(t *rapid.T, b allocator.Buffer) {
	for _, o := range m.live {
		require.False(t, o.Addr() != b.Addr() && b.Addr() < o.Addr()+uintptr(o.Capacity()) && o.Addr() < b.Addr()+uintptr(b.Capacity()), "overlap")
	}
}

// refused: an error that a limit or the device explains.
func (m *model) refused(t *rapid.T, s *modelStream, err error) {
	if s.closed {
		require.ErrorIs(t, err, allocator.ErrClosed)
		return
	}
	require.True(t, errors.Is(err, allocator.ErrLimitExceeded) || errors.Is(err, allocator.ErrOutOfMemory), "%v", err)
}

func (m *model) MallocAll(t *rapid.T) {
	s := m.stream(t)
	sizes := rapid.SliceOfN(rapid.SampledFrom([]int64{0, 1, 600, 4096, 1 << 20, 3<<20 + 1}), 0, 6).Draw(t, "sizes")
	out := make([]allocator.Buffer, len(sizes))
	if err := s.MallocAll(ctx, sizes, out); err != nil {
		m.refused(t, s, err)
		require.Equal(t, make([]allocator.Buffer, len(sizes)), out)
		return
	}
	var some []allocator.Buffer
	for i, b := range out {
		require.Equal(t, sizes[i], b.Size())
		if sizes[i] > 0 {
			some = append(some, b)
		}
	}
	if len(some) > 0 {
		m.got(t, s, some...)
	}
}

func (m *model) MallocRoom(t *rapid.T) {
	s := m.stream(t)
	n := rapid.Int64Range(1, 3<<20).Draw(t, "size")
	b, err := s.MallocWith(ctx, n, allocator.MallocOptions{Room: rapid.Int64Range(1, 8<<20).Draw(t, "room")})
	switch {
	case m.dev.Info().PageSize == 0 && !s.closed:
		require.ErrorIs(t, err, allocator.ErrUnsupported)
	case err != nil:
		m.refused(t, s, err)
	default:
		m.got(t, s, b)
	}
}

func (m *model) Grow(t *rapid.T) {
	if len(m.live) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.live)-1).Draw(t, "buffer")
	b := m.live[i]
	n := b.Size() + rapid.OneOf(rapid.Int64Range(0, 2000), rapid.Int64Range(0, 4<<20)).Draw(t, "more")
	grown, err := b.Grow(ctx, n)
	switch {
	case err == nil:
	case errors.Is(err, allocator.ErrNoRoom), errors.Is(err, allocator.ErrTooLarge):
		return
	default:
		m.refused(t, b.s, err)
		return
	}
	require.Equal(t, []any{b.Addr(), n, roundUp(n)}, []any{grown.Addr(), grown.Size(), grown.Capacity()})
	m.live[i].Buffer = grown
	m.disjoint(t, grown)
	changes := []*count{&m.total, &b.s.count}
	for _, c := range changes {
		c.requested += n - b.Size()
		c.active += roundUp(n) - b.Capacity()
		if grown.Capacity() > b.Capacity() {
			c.peak = max(c.peak, c.active)
		}
	}
}

func (m *model) SetStreamLimit(t *rapid.T) {
	s := m.stream(t)
	if s.closed {
		return
	}
	n := rapid.SampledFrom([]int64{0, 1 << 20, 9 << 20, allocator.NoLimit, allocator.DefaultLimit}).Draw(t, "limit")
	limit, set := &s.memory, s.SetMemoryLimit
	if rapid.Bool().Draw(t, "of cache") {
		limit, set = &s.cache, s.SetCacheLimit
	}
	previous, err := set(n)
	require.NoError(t, err)
	require.Equal(t, *limit, previous)
	if *limit = n; n == allocator.DefaultLimit {
		*limit = allocator.NoLimit
	}
	require.Equal(t, [2]int64{s.memory, s.cache}, [2]int64{s.MemoryLimit(), s.CacheLimit()})
}

func (m *model) Free(t *rapid.T)     { m.free(t) }
func (m *model) FreeMore(t *rapid.T) { m.free(t) }

func (m *model) free(t *rapid.T) {
	if len(m.live) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.live)-1).Draw(t, "buffer")
	b := m.live[i]
	require.NoError(t, b.Free())
	m.live = append(m.live[:i], m.live[i+1:]...)
	m.freed = append(m.freed, b.Buffer)
	m.total.free(b.Size())
	if b.s.closed {
		m.orphans.free(b.Size())
	} else {
		b.s.count.free(b.Size())
	}
}

func (m *model) FreeAgain(t *rapid.T) {
	if len(m.freed) > 0 {
		require.ErrorIs(t, rapid.SampledFrom(m.freed).Draw(t, "freed").Free(), allocator.ErrDoubleFree)
	}
}

func (m *model) RecordUse(t *rapid.T) {
	if len(m.live) == 0 {
		return
	}
	s := m.stream(t)
	if s.queue != nil {
		s.queue.Submit()
	}
	require.NoError(t, rapid.SampledFrom(m.live).Draw(t, "buffer").RecordUse(s.Stream))
}

func (m *model) Signal(t *rapid.T) {
	if s := m.stream(t); s.queue != nil {
		s.queue.CompleteAll()
	}
}

func (m *model) Submit(t *rapid.T) {
	if s := m.stream(t); s.queue != nil {
		s.queue.Submit()
	}
}

func (m *model) ClearCache(t *rapid.T) {
	_, err := m.rt.ClearCache()
	require.NoError(t, err)
}

func (m *model) ClearStream(t *rapid.T) {
	_, err := m.stream(t).ClearCache()
	require.NoError(t, err)
}

func (m *model) SetCacheLimit(t *rapid.T) {
	n := rapid.SampledFrom([]int64{0, 1 << 20, 5 << 20, allocator.NoLimit}).Draw(t, "limit")
	previous, err := m.rt.SetCacheLimit(n)
	require.NoError(t, err)
	require.Equal(t, m.cache, previous)
	m.cache = n
}

func (m *model) SetMemoryLimit(t *rapid.T) {
	n := rapid.SampledFrom([]int64{8 << 20, 30 << 20, allocator.NoLimit}).Draw(t, "limit")
	previous, err := m.rt.SetMemoryLimit(n)
	require.NoError(t, err)
	require.Equal(t, m.memory, previous)
	m.memory = n
}

func (m *model) ResetPeak(t *rapid.T) {
	if rapid.Bool().Draw(t, "of a stream") {
		s := m.stream(t)
		s.ResetPeakMemory()
		s.count.peak = 0
		return
	}
	m.rt.ResetPeakMemory()
	m.total.peak = 0
}

func (m *model) CloseStream(t *rapid.T) {
	if len(m.streams) < 3 || rapid.IntRange(0, 2).Draw(t, "rarely") != 0 {
		return
	}
	s := m.stream(t)
	require.NoError(t, s.Close(ctx))
	if !s.closed {
		s.closed = true
		c := s.count
		m.orphans.requested += c.requested
		m.orphans.active += c.active
		m.orphans.mallocs += c.mallocs
		m.orphans.frees += c.frees
		m.orphans.buffers += c.buffers
	}
}

// Check runs after every step.
func (m *model) Check(t *rapid.T) {
	snap := identity(t, m.rt)
	require.Equal(t, m.total, counted(snap.Total))
	require.Equal(t, m.total.active, m.rt.ActiveMemory())
	require.Equal(t, m.total.peak, m.rt.PeakMemory())
	open := 0
	for _, s := range m.streams {
		require.Equal(t, s.count.active, s.ActiveMemory())
		require.Equal(t, s.count.peak, s.PeakMemory())
		if s.closed {
			continue
		}
		open++
		if s.queue == nil && !m.queues() {
			require.LessOrEqual(t, s.CacheMemory(), s.cache)
		}
	}
	require.Len(t, snap.Streams, open+1)
	if !m.queues() {
		require.LessOrEqual(t, snap.Total.Cache, m.cache)
	}
	orphans := counted(snap.Streams[0].Figures)
	orphans.peak = 0
	require.Equal(t, m.orphans, orphans)
}

// queues: work queued there may keep cache above its limit.
func (m *model) queues() bool {
	return slices.ContainsFunc(m.streams, func(s *modelStream) bool { return s.queue != nil })
}

func counted(f telemetry.Figures) count {
	return count{f.Requested, f.Active, f.Peak, f.Mallocs, f.Frees, f.Buffers}
}

func (m *model) end() {
	for _, s := range m.streams {
		if s.queue != nil {
			s.queue.CompleteAll()
		}
	}
	for len(m.live) > 0 {
		b := m.live[0]
		m.live = m.live[1:]
		require.NoError(m.t, b.Free())
		m.total.free(b.Size())
	}
	_, err := m.rt.ClearCache()
	require.NoError(m.t, err)
	require.NoError(m.t, m.rt.Close(ctx))
	total := identity(m.t, m.rt).Total
	require.Equal(m.t, m.total, counted(total))
	require.Zero(m.t, total.Reserved)
	u, err := m.dev.Usage()
	require.NoError(m.t, err)
	require.Zero(m.t, u.Taken+u.Wired)
	require.NoError(m.t, m.dev.Close())
}
