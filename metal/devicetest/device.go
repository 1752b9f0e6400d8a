package devicetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

func checkInfo(s *subject) {
	i := s.info
	require.NotEmpty(s, i.Kind)
	require.NotEmpty(s, i.Name)
	require.Positive(s, i.Memory)
	require.Positive(s, i.WorkingSet)
	require.LessOrEqual(s, i.WorkingSet, i.Memory)
	require.GreaterOrEqual(s, i.MaxBuffer, int64(0))
	require.GreaterOrEqual(s, i.Alignment, int64(512))
	require.Zero(s, i.Alignment&(i.Alignment-1), "Alignment %d is no power of two", i.Alignment)
	if s.pager == nil {
		require.NotNil(s, s.seg, "a device needs Pager or Segmenter")
		require.Zero(s, i.PageSize, "PageSize without Pager")
		require.Zero(s, i.HandleSize, "HandleSize without Pager")
		require.False(s, i.Aliases, "Aliases without Pager")
	} else {
		require.GreaterOrEqual(s, i.PageSize, i.Alignment)
		require.Zero(s, i.PageSize&(i.PageSize-1), "PageSize %d is no power of two", i.PageSize)
		require.GreaterOrEqual(s, i.HandleSize, int64(0))
		require.Zero(s, i.HandleSize%i.PageSize, "HandleSize %d is no multiple of the page size", i.HandleSize)
	}
	require.Equal(s, i, s.dev.Info(), "Info does not change")
}

// checkClose: memory or address space that is taken keeps a device open.
func checkClose(s *subject) {
	busy := func(what string) {
		s.refuses(metal.ErrBusy, "close with "+what+" taken", s.dev.Close)
	}
	if s.pager != nil {
		r := s.reserve(2)
		busy("a range")
		hs := s.create(1)
		s.mapAt(r, 0, hs...)
		busy("a mapped page")
		s.unmap(r, 0, 1)
		s.unreserve(r)
		busy("a page")
		s.release(hs...)
	}
	if s.seg != nil {
		g := s.alloc(1)
		busy("a segment")
		s.free(g)
	}
	require.NoError(s, s.dev.Close())
	require.NoError(s, s.dev.Close(), "closing again")
}

func checkClosed(s *subject) {
	require.NoError(s, s.dev.Close())
	if s.pager != nil {
		_, err := s.pager.Reserve(s.page)
		require.ErrorIs(s, err, metal.ErrClosed, "reserve")
		_, err = s.pager.Create(s.page)
		require.ErrorIs(s, err, metal.ErrClosed, "create")
	}
	if s.seg != nil {
		_, err := s.seg.Alloc(1)
		require.ErrorIs(s, err, metal.ErrClosed, "alloc")
	}
}

func checkMeteredPages(s *subject) {
	base := s.usage().Taken
	r := s.reserve(8)
	require.Equal(s, base, s.usage().Taken, "address space is no memory")
	hs := s.create(1, 3)
	require.Equal(s, base+4*s.page, s.usage().Taken, "created")
	s.mapAt(r, 0, hs...)
	require.Equal(s, base+4*s.page, s.usage().Taken, "mapped")
	s.unmap(r, 0, 4)
	require.Equal(s, base+4*s.page, s.usage().Taken, "unmapped")
	s.release(hs[1])
	require.Equal(s, base+s.page, s.usage().Taken, "one released")
	s.whileAsking(func() { s.release(s.create(1, 1, 1)...) })
	s.release(hs[0])
	s.unreserve(r)
	require.Equal(s, base, s.usage().Taken, "all given back")
}

func checkMeteredSegments(s *subject) {
	base := s.usage().Taken
	a, b := s.alloc(1), s.alloc(4<<20+1)
	require.Equal(s, base+a.Size+b.Size, s.usage().Taken, "allocated")
	s.free(a)
	require.Equal(s, base+b.Size, s.usage().Taken, "one freed")
	s.whileAsking(func() { s.free(s.alloc(1 << 20)) })
	s.free(b)
	require.Equal(s, base, s.usage().Taken, "all given back")
}

func (s *subject) usage() metal.Usage {
	u, err := s.meter.Usage()
	require.NoError(s, err)
	require.GreaterOrEqual(s, u.Available, int64(-1))
	require.LessOrEqual(s, u.Available, s.info.Memory)
	require.GreaterOrEqual(s, u.Wired, int64(0))
	require.LessOrEqual(s, u.Wired, u.Taken)
	return u
}

// whileAsking calls f some times while another goroutine asks for the usage.
func (s *subject) whileAsking(f func()) {
	stop, asked := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			_, err := s.meter.Usage()
			select {
			case <-stop:
				asked <- err
				return
			default:
			}
			if err != nil {
				asked <- err
				return
			}
		}
	}()
	defer func() {
		close(stop)
		require.NoError(s, <-asked, "usage, asked from another goroutine")
	}()
	for range 20 {
		f()
	}
}

// checkModelledTime: time adds up and never shrinks.
func checkModelledTime(s *subject) {
	last := s.modeler.ModelledTime()
	require.GreaterOrEqual(s, last, time.Duration(0))
	step := func(what string) {
		now := s.modeler.ModelledTime()
		require.GreaterOrEqual(s, now, last, "modelled time after %s", what)
		last = now
	}
	if s.pager != nil {
		r := s.reserve(1)
		step("reserve")
		hs := s.create(1)
		step("create")
		s.mapAt(r, 0, hs...)
		step("map")
		s.unmap(r, 0, 1)
		step("unmap")
		s.release(hs...)
		step("release")
		s.unreserve(r)
		step("unreserve")
	}
	if s.seg != nil {
		g := s.alloc(1)
		step("alloc")
		s.free(g)
		step("free")
	}
	require.Positive(s, last, "some call takes time")
}

// checkModelledHandles: each handle is charged, however many came before it or
// are in the same call.
func checkModelledHandles(s *subject) {
	const n = 8
	took := func(f func()) time.Duration {
		before := s.modeler.ModelledTime()
		f()
		return s.modeler.ModelledTime() - before
	}
	r := s.reserve(2 * n)
	var first, hs []metal.Handle
	createOne := took(func() { first = s.create(1) })
	createAll := took(func() { hs = s.create(1, 1, 1, 1, 1, 1, 1, 1) })
	require.Equal(s, n*createOne, createAll, "creating %d handles, one after the other, against one", n)

	mapOne := took(func() { s.mapAt(r, 0, first...) })
	mapAll := took(func() { s.mapAt(r, n, hs...) })
	unmapOne := took(func() { s.unmap(r, 0, 1) })
	unmapAll := took(func() { s.unmap(r, n, n) })
	for _, c := range []struct {
		call     string
		one, all time.Duration
	}{{"mapping", mapOne, mapAll}, {"unmapping", unmapOne, unmapAll}} {
		require.LessOrEqual(s, c.one, c.all, "%s %d handles in one call can't take less than one", c.call, n)
		require.LessOrEqual(s, c.all, n*c.one, "%s %d handles in one call can't take more than each by itself", c.call, n)
	}
	releaseOne := took(func() { s.release(first...) })
	releaseAll := took(func() { s.release(hs...) })
	require.Equal(s, n*releaseOne, releaseAll, "releasing %d handles, one after the other, against one", n)
	s.unreserve(r)
}
