// Package devicetest checks that a device keeps the contract of package metal.
//
//	func TestContract(t *testing.T) {
//		devicetest.Run(t, func(t *testing.T) metal.Device {
//			dev, err := mydevice.Open()
//			require.NoError(t, err)
//			return dev
//		})
//	}
//
// Random parts use rapid: a failure prints its seed, and the flags -rapid.seed
// and -rapid.checks set the seed and how much is tried.
package devicetest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/metalloc/metalloc/metal"
)

// Run checks the device that open returns, in a subtest for each rule. Rules about
// a capability that the device lacks are skipped by name. open is called once for
// each subtest, with that subtest's t, and must return a device of its own from
// which nothing has been taken; Run closes it. The device needs at least 64 MiB
// or 32 pages of memory, whichever is more.
func Run(t *testing.T, open func(t *testing.T) metal.Device) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.on(t, open(t)) })
	}
}

// check is one rule. It takes a rapid.TB, not a *testing.T, so that this
// package's tests can watch checks fail on broken devices.
type check struct {
	name  string
	needs []capability
	run   func(s *subject)
}

var checks = []check{
	{"device/info", nil, checkInfo},
	{"device/close", nil, checkClose},
	{"device/closed", nil, checkClosed},

	{"pager/sizes", []capability{pager}, checkPageSizes},
	{"pager/ranges", []capability{pager}, checkRanges},
	{"pager/out of memory", []capability{pager}, checkOutOfMemory},
	{"pager/map", []capability{pager}, checkMap},
	{"pager/map once", []capability{pager, noAliases}, checkMapOnce},
	{"pager/aliases", []capability{pager, aliases}, checkAliases},
	{"pager/unmap", []capability{pager}, checkUnmap},
	{"pager/giving back", []capability{pager}, checkGivingBack},
	{"pager/contents", []capability{pager, hostVisible}, checkPageContents},
	{"pager/random", []capability{pager}, checkRandomPages},

	{"segmenter/sizes", []capability{segmenter}, checkSegmentSizes},
	{"segmenter/free", []capability{segmenter}, checkFree},
	{"segmenter/contents", []capability{segmenter, hostVisible}, checkSegmentContents},
	{"segmenter/random", []capability{segmenter}, checkRandomSegments},

	{"wirer/pages", []capability{wirer, pager}, checkWiredPages},
	{"wirer/segments", []capability{wirer, segmenter}, checkWiredSegments},

	{"marker/queue zero", []capability{marker}, checkQueueZero},
	{"marker/order", []capability{marker, softQueuer}, checkOrder},
	{"marker/notify", []capability{marker, softQueuer}, checkNotify},
	{"marker/failed queue", []capability{marker, softQueuer}, checkFailedQueue},
	{"marker/unknown queue", []capability{marker, softQueuer}, checkUnknownQueue},
	{"marker/concurrent", []capability{marker, softQueuer}, checkConcurrentMarks},

	{"meter/pages", []capability{meter, pager}, checkMeteredPages},
	{"meter/segments", []capability{meter, segmenter}, checkMeteredSegments},
	{"pressurer/stop", []capability{pressurer}, checkPressure},
	{"modeler/time", []capability{modeler}, checkModelledTime},
	{"modeler/handles", []capability{modeler, pager}, checkModelledHandles},
}

// on runs the check on a device and closes it.
func (c check) on(t rapid.TB, dev metal.Device) {
	s := newSubject(t, dev)
	for _, need := range c.needs {
		if !s.has(need) {
			require.NoError(t, dev.Close())
			t.Skipf("the device has no %s", need)
		}
	}
	c.run(s)
	require.NoError(t, dev.Close(), "the check gave everything back")
}

// capability names what a device may lack.
type capability string

const (
	pager       capability = "Pager"
	segmenter   capability = "Segmenter"
	wirer       capability = "Wirer"
	marker      capability = "Marker"
	softQueuer  capability = "SoftQueuer"
	meter       capability = "Meter"
	pressurer   capability = "Pressurer"
	modeler     capability = "Modeler"
	hostVisible capability = "memory that the host can see"
	aliases     capability = "handles at several places"
	noAliases   capability = "handles at one place only"
)

// subject is a device under test with its capabilities, nil where it lacks them.
type subject struct {
	rapid.TB
	dev       metal.Device
	info      metal.Info
	page      int64
	pager     metal.Pager
	seg       metal.Segmenter
	wirer     metal.Wirer
	marker    metal.Marker
	queues    metal.SoftQueuer
	meter     metal.Meter
	pressurer metal.Pressurer
	modeler   metal.Modeler
}

func newSubject(t rapid.TB, dev metal.Device) *subject {
	s := &subject{TB: t, dev: dev, info: dev.Info()}
	s.page = s.info.PageSize
	s.pager, _ = dev.(metal.Pager)
	s.seg, _ = dev.(metal.Segmenter)
	s.wirer, _ = dev.(metal.Wirer)
	s.marker, _ = dev.(metal.Marker)
	s.queues, _ = dev.(metal.SoftQueuer)
	s.meter, _ = dev.(metal.Meter)
	s.pressurer, _ = dev.(metal.Pressurer)
	s.modeler, _ = dev.(metal.Modeler)
	return s
}

func (s *subject) has(c capability) bool {
	return map[capability]bool{
		pager:       s.pager != nil,
		segmenter:   s.seg != nil,
		wirer:       s.wirer != nil,
		marker:      s.marker != nil,
		softQueuer:  s.queues != nil,
		meter:       s.meter != nil,
		pressurer:   s.pressurer != nil,
		modeler:     s.modeler != nil,
		hostVisible: s.info.HostVisible,
		aliases:     s.info.Aliases,
		noAliases:   !s.info.Aliases,
	}[c]
}

// with is the same subject reporting to another TB, for parts run by rapid.
func (s *subject) with(t rapid.TB) *subject {
	inner := *s
	inner.TB = t
	return &inner
}

// taken is what the device says is taken; always 0 if it doesn't say.
func (s *subject) taken() int64 {
	if s.meter == nil {
		return 0
	}
	u, err := s.meter.Usage()
	require.NoError(s, err)
	return u.Taken
}

// refuses wants a call to fail as it should and to take or give nothing. want
// nil: any error.
func (s *subject) refuses(want error, what string, call func() error) {
	before := s.taken()
	err := call()
	require.Error(s, err, what)
	if want != nil {
		require.ErrorIs(s, err, want, what)
	}
	require.Equal(s, before, s.taken(), "memory taken, after it was refused: %s", what)
}

func (s *subject) reserve(pages int64) metal.Range {
	r, err := s.pager.Reserve(pages * s.page)
	require.NoError(s, err)
	require.Equal(s, pages*s.page, r.Size)
	require.Zero(s, r.Addr%uintptr(s.page), "address %#x is no multiple of the page size", r.Addr)
	return r
}

// create makes a handle for each number of pages.
func (s *subject) create(pages ...int64) []metal.Handle {
	hs := make([]metal.Handle, len(pages))
	for i, n := range pages {
		h, err := s.pager.Create(n * s.page)
		require.NoError(s, err)
		require.NotZero(s, h)
		hs[i] = h
	}
	return hs
}

func (s *subject) mapAt(r metal.Range, page int64, hs ...metal.Handle) {
	require.NoError(s, s.pager.Map(r, page*s.page, hs))
}

func (s *subject) unmap(r metal.Range, page, pages int64) {
	require.NoError(s, s.pager.Unmap(r, page*s.page, pages*s.page))
}

func (s *subject) release(hs ...metal.Handle) {
	for _, h := range hs {
		require.NoError(s, s.pager.Release(h))
	}
}

func (s *subject) unreserve(rs ...metal.Range) {
	for _, r := range rs {
		require.NoError(s, s.pager.Unreserve(r))
	}
}

func (s *subject) alloc(size int64) metal.Segment {
	g, err := s.seg.Alloc(size)
	require.NoError(s, err)
	require.NotZero(s, g.Handle)
	require.GreaterOrEqual(s, g.Size, size)
	require.Zero(s, g.Addr%uintptr(s.info.Alignment), "address %#x is not aligned", g.Addr)
	require.Zero(s, g.Size%s.info.Alignment, "size %d is not aligned", g.Size)
	return g
}

func (s *subject) free(g metal.Segment) { require.NoError(s, s.seg.Free(g)) }

// span is a piece of address space.
type span struct {
	addr uintptr
	size int64
}

func (s *subject) disjoint(spans []span) {
	for i, a := range spans {
		require.NotZero(s, a.addr, "no address")
		for _, b := range spans[:i] {
			require.False(s, a.addr < b.addr+uintptr(b.size) && b.addr < a.addr+uintptr(a.size),
				"%d bytes at %#x overlap %d bytes at %#x", a.size, a.addr, b.size, b.addr)
		}
	}
}
