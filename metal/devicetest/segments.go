package devicetest

import (
	"math"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

func checkSegmentSizes(s *subject) {
	alloc := func(size int64) func() error {
		return func() error {
			_, err := s.seg.Alloc(size)
			return err
		}
	}
	for _, size := range []int64{-1, math.MinInt64} {
		s.refuses(metal.ErrInvalidSize, "alloc a negative size", alloc(size))
	}
	if largest := s.info.MaxBuffer; largest > 0 {
		s.refuses(metal.ErrTooLarge, "alloc one byte more than MaxBuffer", alloc(largest+1))
		s.refuses(metal.ErrTooLarge, "alloc far more than MaxBuffer", alloc(math.MaxInt64))
	} else {
		s.refuses(nil, "alloc one byte more than Memory", alloc(s.info.Memory+1))
		s.refuses(nil, "alloc far more than Memory", alloc(math.MaxInt64))
	}
	for _, size := range []int64{1, s.info.Alignment, s.info.Alignment + 1, 1 << 20} {
		s.free(s.alloc(size))
	}
}

func checkFree(s *subject) {
	a, b := s.alloc(1), s.alloc(1)
	require.NotEqual(s, a.Handle, b.Handle)
	s.disjoint([]span{{a.Addr, a.Size}, {b.Addr, b.Size}})
	s.refuses(metal.ErrUnknownHandle, "free nothing", func() error { return s.seg.Free(metal.Segment{}) })
	s.free(a)
	s.refuses(metal.ErrUnknownHandle, "free twice", func() error { return s.seg.Free(a) })
	s.free(b)
}
