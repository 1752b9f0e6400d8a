package devicetest

import (
	"math"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

func checkPageSizes(s *subject) {
	for _, size := range []int64{-1, -s.page, math.MinInt64, 1, s.page - 1, s.page + 1, math.MaxInt64} {
		s.refuses(metal.ErrInvalidSize, "reserve a size that is no multiple of the page size", func() error {
			_, err := s.pager.Reserve(size)
			return err
		})
		s.refuses(metal.ErrInvalidSize, "create a size that is no multiple of the page size", func() error {
			_, err := s.pager.Create(size)
			return err
		})
	}
	s.refuses(nil, "reserve nearly all there is in an int64", func() error {
		_, err := s.pager.Reserve(math.MaxInt64 - s.page + 1)
		return err
	})
}

func checkRanges(s *subject) {
	var rs []metal.Range
	all := func() (spans []span) {
		for _, r := range rs {
			spans = append(spans, span{r.Addr, r.Size})
		}
		return spans
	}
	for _, pages := range []int64{1, 3, 1, 64, 2, 1} {
		rs = append(rs, s.reserve(pages))
	}
	s.disjoint(all())
	s.unreserve(rs[1], rs[3])
	rs = []metal.Range{rs[0], rs[2], rs[4], rs[5]}
	for _, pages := range []int64{2, 1, 65} { // into the holes, or not
		rs = append(rs, s.reserve(pages))
	}
	s.disjoint(all())
	s.unreserve(rs...)
}

func checkOutOfMemory(s *subject) {
	for _, size := range []int64{
		s.info.Memory/s.page*s.page + s.page,
		math.MaxInt64 - s.page + 1,
	} {
		s.refuses(metal.ErrOutOfMemory, "create more than the device has", func() error {
			_, err := s.pager.Create(size)
			return err
		})
	}
	s.release(s.create(1)...) // it goes on
}

// checkMap: what can't be mapped is refused, all of it, and changes nothing.
func checkMap(s *subject) {
	r, other := s.reserve(10), s.reserve(4)
	hs := s.create(1, 2, 3)
	inside := s.create(2)
	s.mapAt(r, 4, inside...) // pages 4 and 5
	gone := s.create(1)
	s.release(gone...)

	for _, c := range []struct {
		name   string
		r      metal.Range
		offset int64
		hs     []metal.Handle
		want   error
	}{
		{"a handle twice", r, 0, []metal.Handle{hs[0], hs[1], hs[0]}, metal.ErrBusy},
		{"onto the first page of a mapping", r, 3 * s.page, hs[:2], metal.ErrBusy},
		{"onto the last page of a mapping", r, 5 * s.page, hs[:2], metal.ErrBusy},
		{"a released handle", r, 0, []metal.Handle{hs[0], gone[0]}, metal.ErrUnknownHandle},
		{"handle zero", r, 0, []metal.Handle{hs[0], 0}, metal.ErrUnknownHandle},
		{"over the end of the range", r, 7 * s.page, []metal.Handle{hs[0], hs[2]}, metal.ErrInvalidSize},
		{"behind the end of the range", r, 10 * s.page, hs[:1], metal.ErrInvalidSize},
		{"before the range", r, -s.page, hs[:1], metal.ErrInvalidSize},
		{"between two pages", r, s.page / 2, hs[:1], metal.ErrInvalidSize},
		{"into no range", metal.Range{Addr: r.Addr + uintptr(s.page), Size: r.Size}, 0, hs[:1], metal.ErrUnknownHandle},
	} {
		s.refuses(c.want, "map "+c.name, func() error { return s.pager.Map(c.r, c.offset, c.hs) })
		// Neither the handles nor the pages were used up.
		s.mapAt(r, 0, hs[:2]...)
		s.unmap(r, 0, 3)
		s.mapAt(r, 7, hs[2])
		s.unmap(r, 7, 3)
		s.mapAt(other, 0, hs[0])
		s.unmap(other, 0, 1)
	}
	s.unmap(r, 4, 2)
	s.mapAt(other, 1, inside...) // a handle moves to another range
	s.unmap(other, 1, 2)
	s.release(hs...)
	s.release(inside...)
	s.unreserve(r, other)
}

// checkMapOnce: a handle that is mapped can't be mapped elsewhere too.
func checkMapOnce(s *subject) {
	r, other := s.reserve(4), s.reserve(4)
	hs := s.create(1, 1)
	s.mapAt(r, 2, hs[1])
	for _, to := range []metal.Range{r, other} {
		s.refuses(metal.ErrBusy, "map a mapped handle", func() error { return s.pager.Map(to, 0, hs) })
		s.mapAt(r, 0, hs[0]) // it was not used up
		s.unmap(r, 0, 1)
	}
	s.unmap(r, 2, 1)
	s.release(hs...)
	s.unreserve(r, other)
}

// checkAliases: a handle can be at several places, takes no more memory for it, and
// is released only once it is at none.
func checkAliases(s *subject) {
	r, other := s.reserve(8), s.reserve(4)
	hs := s.create(2, 1)
	before := s.taken()
	s.mapAt(r, 0, hs...)
	s.mapAt(r, 5, hs[0])
	s.mapAt(other, 1, hs[1], hs[0])
	if s.meter != nil {
		require.Equal(s, before, s.taken(), "mapped at several places")
	}
	for _, at := range []struct {
		in            metal.Range
		offset, pages int64
	}{{r, 0, 3}, {r, 5, 2}, {other, 1, 3}} {
		s.refuses(metal.ErrBusy, "release a handle that is mapped still", func() error { return s.pager.Release(hs[0]) })
		s.unmap(at.in, at.offset, at.pages)
	}
	s.release(hs...)
	s.unreserve(r, other)
}

// checkUnmap: an unmap covers whole handles.
func checkUnmap(s *subject) {
	r := s.reserve(10)
	hs := s.create(1, 3, 1)
	s.mapAt(r, 1, hs...) // pages 1, 2–4, 5
	for _, c := range []struct {
		name         string
		offset, size int64
	}{
		{"the front of a handle", s.page, 2 * s.page},
		{"the middle of a handle", 3 * s.page, s.page},
		{"the back of a handle", 3 * s.page, 2 * s.page},
		{"over the end of the range", 5 * s.page, 6 * s.page},
		{"far over the end of the range", s.page, math.MaxInt64 - s.page + 1},
		{"before the range", -s.page, 2 * s.page},
		{"half a page", s.page, s.page / 2},
		{"between two pages", s.page + s.page/2, s.page},
	} {
		s.refuses(metal.ErrInvalidSize, "unmap "+c.name, func() error { return s.pager.Unmap(r, c.offset, c.size) })
		for _, h := range hs {
			s.refuses(metal.ErrBusy, "release what a refused unmap left mapped", func() error { return s.pager.Release(h) })
		}
	}
	s.refuses(metal.ErrUnknownHandle, "unmap in no range", func() error {
		return s.pager.Unmap(metal.Range{Addr: r.Addr + uintptr(s.page), Size: r.Size}, s.page, s.page)
	})

	s.unmap(r, 2, 3)
	s.mapAt(r, 7, hs[1])
	s.unmap(r, 1, 1)
	s.unmap(r, 5, 1)
	s.unmap(r, 7, 3)
	s.release(hs...)
	s.unreserve(r)
}

// checkGivingBack: in use can't be given back, and nothing twice.
func checkGivingBack(s *subject) {
	r := s.reserve(4)
	hs := s.create(2, 1)
	s.mapAt(r, 1, hs[0])

	s.refuses(metal.ErrBusy, "release a mapped handle", func() error { return s.pager.Release(hs[0]) })
	s.refuses(metal.ErrBusy, "unreserve a range with a mapped handle", func() error { return s.pager.Unreserve(r) })
	s.refuses(metal.ErrUnknownHandle, "unreserve part of a range", func() error {
		return s.pager.Unreserve(metal.Range{Addr: r.Addr, Size: s.page})
	})
	s.unmap(r, 1, 2) // it was still mapped
	s.release(hs...)
	s.refuses(metal.ErrUnknownHandle, "release twice", func() error { return s.pager.Release(hs[0]) })
	s.refuses(metal.ErrUnknownHandle, "release handle zero", func() error { return s.pager.Release(0) })
	s.unreserve(r)
	s.refuses(metal.ErrUnknownHandle, "unreserve twice", func() error { return s.pager.Unreserve(r) })
	s.refuses(metal.ErrUnknownHandle, "unreserve nothing", func() error { return s.pager.Unreserve(metal.Range{}) })
}
