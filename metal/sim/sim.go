// Package sim is a simulated device: a GPU's rules, sizes and call times without
// a GPU, for tests, for trying out limits, and for replaying traces.
//
//	dev, err := sim.New(sim.Config{Memory: 8 << 30})
//	if err != nil {
//		return err
//	}
//	defer dev.Close()
//
// Its addresses lead nowhere and must not be followed. All rules of
// [metal.Pager], [metal.Segmenter] and [metal.Wirer] are enforced: what a driver would let pass
// and punish later is an error here. Calls cost no time of their own but add up
// what they would have taken ([metal.Modeler]), and they can be made to fail, to
// panic and to wait.
//
// [New] gives a device that maps pages, [NewSegments] one that can only take
// whole segments. To see a program cope with a device that lacks something more,
// pass on just the interfaces it should have:
//
//	noMarks := struct {
//		metal.Device
//		metal.Pager
//	}{dev, dev}
//
// Pressure is what the program says it is ([Device.SetPressure]).
package sim

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/internal/pagebook"
)

// Config says what to simulate. Sizes are bytes; for each, 0 stands for the
// default, and Memory, WorkingSet and AddressSpace are rounded down to whole
// pages.
type Config struct {
	Memory       int64       // default 80 GiB
	WorkingSet   int64       // default 0.95 of Memory
	PageSize     int64       // a power of two, at least 512; segments are rounded up to it; default 2 MiB
	HandleSize   int64       // what Info says of it; whole pages; default 64 MiB, or PageSize if that is more
	NoAliases    bool        // a handle can be mapped at one place only
	MaxBuffer    int64       // largest segment; default Memory
	AddressSpace int64       // for ranges and segments together; default 127 TiB
	WireLimit    int64       // more is refused as a system would; default: nothing is refused
	Clock        metal.Clock // for SubmitUntil of the device's queues; nil: they have none
	Costs        Costs       // what calls take; default [H100]
}

const (
	defaultMemory       = 80 << 30
	defaultPageSize     = 2 << 20
	defaultHandleSize   = 64 << 20  // from here on a handle's size begins to show in what calls cost
	defaultAddressSpace = 127 << 40 // what a process has on x86-64 Linux, nearly
	alignment           = 512
)

// SegmentDevice takes memory in whole segments only. It is also a
// [metal.Wirer], [metal.Marker], [metal.SoftQueuer], [metal.Meter],
// [metal.Pressurer] and [metal.Modeler]. Safe for concurrent use.
type SegmentDevice struct {
	*metal.SoftMarks
	script
	pressure
	info     metal.Info
	costs    Costs
	book     *pagebook.Book
	modelled atomic.Int64 // ns
}

// Device is a SegmentDevice that can map pages too: a [metal.Pager].
type Device struct {
	*SegmentDevice
}

// New opens a device that maps pages. ErrInvalidSize names the field of cfg that
// makes no sense.
func New(cfg Config) (*Device, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	d := open(cfg)
	d.info.PageSize, d.info.HandleSize, d.info.Aliases = cfg.PageSize, cfg.HandleSize, !cfg.NoAliases
	return &Device{d}, nil
}

// NewSegments opens a device without paging. Errors are those of [New].
func NewSegments(cfg Config) (*SegmentDevice, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	return open(cfg), nil
}

func open(cfg Config) *SegmentDevice {
	d := &SegmentDevice{
		SoftMarks: metal.NewSoftMarks(cfg.Clock),
		script:    script{calls: map[Call]int64{}},
		info: metal.Info{
			Kind:       "sim",
			Name:       "simulated device",
			Memory:     cfg.Memory,
			WorkingSet: cfg.WorkingSet,
			MaxBuffer:  cfg.MaxBuffer,
			Alignment:  alignment,
		},
		costs: cfg.Costs,
	}
	d.book = pagebook.New(pagebook.Config{
		Aliases:   !cfg.NoAliases,
		Unit:      cfg.PageSize,
		Memory:    cfg.Memory,
		MaxBuffer: cfg.MaxBuffer,
		Mapped:    func(size int64) { d.spend(d.costs.MapHandle + d.costs.SetAccessHandle.At(size)) },
		Unmapped:  func(size int64) { d.spend(d.costs.UnmapHandle.At(size)) },
	}, newSpace(max(spaceStart, cfg.PageSize), cfg.AddressSpace, cfg.WireLimit))
	return d
}

// resolve fills in the defaults and checks the rest.
func (c Config) resolve() (Config, error) {
	c.PageSize = orElse(c.PageSize, defaultPageSize)
	if c.PageSize < alignment || c.PageSize&(c.PageSize-1) != 0 {
		return c, fmt.Errorf("sim: PageSize %d: want a power of two, at least %d: %w", c.PageSize, alignment, metal.ErrInvalidSize)
	}
	c.Memory = c.pages(orElse(c.Memory, defaultMemory))
	c.WorkingSet = c.pages(orElse(c.WorkingSet, max(c.Memory-c.Memory/20, c.PageSize)))
	c.AddressSpace = c.pages(orElse(c.AddressSpace, defaultAddressSpace))
	c.MaxBuffer = orElse(c.MaxBuffer, c.Memory)
	c.HandleSize = orElse(c.HandleSize, max(defaultHandleSize, c.PageSize))
	if c.HandleSize < 0 || c.HandleSize%c.PageSize != 0 {
		return c, fmt.Errorf("sim: HandleSize: %d bytes, want a positive multiple of PageSize, %d: %w", c.HandleSize, c.PageSize, metal.ErrInvalidSize)
	}
	for _, f := range []struct {
		name         string
		value, limit int64
	}{
		{"Memory", c.Memory, math.MaxInt64},
		{"WorkingSet", c.WorkingSet, c.Memory},
		{"AddressSpace", c.AddressSpace, 1 << 61}, // addresses stay in an int64
		{"MaxBuffer", c.MaxBuffer, c.Memory},
	} {
		if f.value <= 0 || f.value > f.limit {
			return c, fmt.Errorf("sim: %s: %d bytes (in whole pages of %d), want 1 to %d: %w",
				f.name, f.value, c.PageSize, f.limit, metal.ErrInvalidSize)
		}
	}
	if c.WireLimit < 0 {
		return c, fmt.Errorf("sim: WireLimit: %d bytes, want 0 (none) or more: %w", c.WireLimit, metal.ErrInvalidSize)
	}
	if c.Costs.isZero() {
		c.Costs = H100()
	}
	return c, nil
}

func orElse(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}

func (c Config) pages(n int64) int64 { return n - n%c.PageSize }

// Info implements [metal.Device].
func (d *SegmentDevice) Info() metal.Info { return d.info }

// Close implements [metal.Device]. Marks and queues go on working.
func (d *SegmentDevice) Close() error {
	if err := d.book.Close(); err != nil {
		return err
	}
	d.close()
	return nil
}

// Usage implements [metal.Meter].
func (d *SegmentDevice) Usage() (metal.Usage, error) { return d.book.Usage() }

// ModelledTime implements [metal.Modeler]. Calls that failed add nothing.
func (d *SegmentDevice) ModelledTime() time.Duration { return time.Duration(d.modelled.Load()) }

func (d *SegmentDevice) spend(t time.Duration) { d.modelled.Add(int64(t)) }

// Alloc implements [metal.Segmenter].
func (d *SegmentDevice) Alloc(size int64) (metal.Segment, error) {
	if err := d.enter(CallAlloc); err != nil {
		return metal.Segment{}, err
	}
	s, err := d.book.Alloc(size)
	if err == nil {
		d.spend(d.costs.Alloc.At(s.Size))
	}
	return s, err
}

// Free implements [metal.Segmenter].
func (d *SegmentDevice) Free(s metal.Segment) error {
	if err := d.enter(CallFree); err != nil {
		return err
	}
	err := d.book.Free(s)
	if err == nil {
		d.spend(d.costs.Free.At(s.Size))
	}
	return err
}

// Wire implements [metal.Wirer]. Over WireLimit: ErrLimitExceeded.
func (d *SegmentDevice) Wire(addr uintptr, size int64) error {
	if err := d.enter(CallWire); err != nil {
		return err
	}
	err := d.book.Wire(addr, size)
	if err == nil {
		d.spend(d.costs.Wire)
	}
	return err
}

// Unwire implements [metal.Wirer].
func (d *SegmentDevice) Unwire(addr uintptr, size int64) error {
	if err := d.enter(CallUnwire); err != nil {
		return err
	}
	err := d.book.Unwire(addr, size)
	if err == nil {
		d.spend(d.costs.Unwire)
	}
	return err
}

// Reserve implements [metal.Pager].
func (d *Device) Reserve(size int64) (metal.Range, error) {
	if err := d.enter(CallReserve); err != nil {
		return metal.Range{}, err
	}
	return d.book.Reserve(size)
}

// Unreserve implements [metal.Pager].
func (d *Device) Unreserve(r metal.Range) error {
	if err := d.enter(CallUnreserve); err != nil {
		return err
	}
	return d.book.Unreserve(r)
}

// Create implements [metal.Pager].
func (d *Device) Create(size int64) (metal.Handle, error) {
	if err := d.enter(CallCreate); err != nil {
		return 0, err
	}
	h, err := d.book.Create(size)
	if err == nil {
		d.spend(d.costs.Create.At(size))
	}
	return h, err
}

// Release implements [metal.Pager].
func (d *Device) Release(h metal.Handle) error {
	if err := d.enter(CallRelease); err != nil {
		return err
	}
	size, err := d.book.Release(h)
	if err == nil {
		d.spend(d.costs.Release.At(size))
	}
	return err
}

// Map implements [metal.Pager].
func (d *Device) Map(r metal.Range, offset int64, hs []metal.Handle) error {
	if err := d.enter(CallMap); err != nil {
		return err
	}
	err := d.book.Map(r, offset, hs)
	if err == nil {
		d.spend(d.costs.SetAccess) // and what the book told of each handle
	}
	return err
}

// Unmap implements [metal.Pager].
func (d *Device) Unmap(r metal.Range, offset, size int64) error {
	if err := d.enter(CallUnmap); err != nil {
		return err
	}
	err := d.book.Unmap(r, offset, size)
	if err == nil {
		d.spend(d.costs.Unmap) // likewise
	}
	return err
}
