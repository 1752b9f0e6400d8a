package actors

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
	"github.com/metalloc/metalloc/telemetry"
)

// metalActor serialises all device work. It runs on its own goroutine and is
// never entered by a caller: device calls take long.
type metalActor struct {
	shell
	pager     metal.Pager     // nil: the device gives whole segments
	segmenter metal.Segmenter // nil: it maps pages
	calls     [numCalls]atomic.Int64
	spent     atomic.Int64 // nanoseconds in device calls
	inbox     inbox
	leaving   []*leaving
	lingering map[metal.Handle]int // places that pages have left early and are mapped at still
	spare     []metal.Range        // of closed streams, empty: kept, since old slices must not fault
	released  int64                // bytes that went back and were not told to anyone yet
	wiring    wiring
	grain     grain
}

type deviceCall int

const (
	callReserve deviceCall = iota
	callUnreserve
	callCreate
	callRelease
	callMap
	callUnmap
	callAlloc
	callFree
	callWire
	callUnwire
	numCalls
)

var callNames = [numCalls]string{
	"reserve", "unreserve", "create", "release", "map", "unmap", "alloc", "free", "wire", "unwire",
}

func (m *metalActor) open(c *Core) error {
	m.core = c
	m.lingering = map[metal.Handle]int{}
	m.pager, _ = c.dev.(metal.Pager)
	if m.pager == nil {
		m.segmenter, _ = c.dev.(metal.Segmenter)
	}
	if m.pager == nil && m.segmenter == nil {
		return fmt.Errorf("device %q neither maps pages nor gives segments: %w", c.info.Name, ErrUnsupported)
	}
	m.wiring.open(c.dev)
	m.grain = newGrain(c.now(), m.driverTime())
	return nil
}

func (m *metalActor) start(c *Core) {
	m.init(c, nil, nil)
	m.spawn(m)
}

// Receive has no messages of its own: all work is posted by us.
func (m *metalActor) Receive(ctx actor.Context) {
	if _, ok := ctx.Message().(*actor.Stopped); ok {
		m.stopped()
	}
}

// timed makes one device call and counts it.
func (m *metalActor) timed(k deviceCall, f func() error) error {
	m.calls[k].Add(1)
	start := time.Now()
	defer func() { m.spent.Add(int64(time.Since(start))) }()
	return f()
}

// driverTime is what all device calls so far took, or would have taken, nanoseconds;
// from any goroutine.
func (m *metalActor) driverTime() int64 {
	if model, ok := m.core.dev.(metal.Modeler); ok {
		return int64(model.ModelledTime())
	}
	return m.spent.Load()
}

// telemetry reads the counters; from any goroutine.
func (m *metalActor) telemetry() telemetry.Device {
	i := m.core.info
	d := telemetry.Device{
		Kind: i.Kind, Name: i.Name, Memory: i.Memory, WorkingSet: i.WorkingSet, PageSize: i.PageSize,
		Calls: map[string]int64{}, DriverNS: m.driverTime(), Wired: m.wiring.total.Load(),
	}
	for k := range m.calls {
		if n := m.calls[k].Load(); n > 0 {
			d.Calls[callNames[k]] = n
		}
	}
	return d
}

// leastPage is the least that can move from one stream to another, bytes.
func (c *Core) leastPage() int64 { return max(c.info.PageSize, streams.Unit) }

// mappedPage is the page size where the device maps pages, else 0.
func (m *metalActor) mappedPage() int64 {
	if m.pager == nil {
		return 0
	}
	return m.core.info.PageSize
}

// unreserveAll gives the spare ranges back; nobody may hold a slice of them any
// more. The error is the device's that keeps one, or keeps memory: it is tried
// again next time.
func (m *metalActor) unreserveAll() error {
	var errs []error
	for i := 0; i < len(m.spare); {
		if err := m.timed(callUnreserve, func() error { return m.pager.Unreserve(m.spare[i]) }); err != nil {
			errs = append(errs, fmt.Errorf("address range of %d bytes: %w", m.spare[i].Size, err))
			i++
			continue
		}
		m.spare = slices.Delete(m.spare, i, i+1)
	}
	for _, r := range m.leaving {
		errs = append(errs, fmt.Errorf("%d bytes: %w", r.Size, r.refusal))
	}
	return errors.Join(errs...)
}
