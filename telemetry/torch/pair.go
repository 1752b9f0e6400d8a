package torch

import (
	"fmt"
	"math"
	"strings"
)

// anyDevice: the one device that has events.
const anyDevice = -1

// history makes a History of a snapshot's values.
func history(snapshot any, device int) (*History, error) {
	root, ok := snapshot.(*dict)
	if !ok {
		return nil, malformed("the pickle is %s, want the snapshot's dict", describe(snapshot))
	}
	traces, ok := root.deviceTraces.(*list)
	if !ok {
		return nil, malformed("device_traces is %s, want a list with a list of events for each device", describe(root.deviceTraces))
	}
	device, err := chooseDevice(traces, device)
	if err != nil {
		return nil, err
	}
	trace, ok := traces.items[device].(*list)
	if !ok {
		return nil, malformed("device_traces[%d] is %s, want a list of events", device, describe(traces.items[device]))
	}
	p := newPairing(device, len(trace.items))
	for i, item := range trace.items {
		if err := p.add(item); err != nil {
			return nil, fmt.Errorf("device %d, event %d: %w", device, i, err)
		}
	}
	return p.h, nil
}

// chooseDevice gives the index of the trace to read.
func chooseDevice(traces *list, device int) (int, error) {
	n := len(traces.items)
	if device != anyDevice {
		if device >= n {
			return 0, fmt.Errorf("%w: asked for device %d, the snapshot has %d", ErrDevice, device, n)
		}
		return device, nil
	}
	var full []string
	for i, item := range traces.items {
		if l, ok := item.(*list); !ok || len(l.items) > 0 { // not a list: an error later, if chosen
			full = append(full, fmt.Sprintf("%d", i))
			device = i
		}
	}
	switch len(full) {
	case 0:
		return 0, fmt.Errorf("%w: none of the snapshot's %d has events; was the history recorded?", ErrDevice, n)
	case 1:
		return device, nil
	}
	return 0, fmt.Errorf("%w: devices %s have events, choose one", ErrDevice, strings.Join(full, ", "))
}

// pairing gives every free the block that it frees.
type pairing struct {
	h       *History
	streams map[uint64]int32
	live    map[uint64]int32 // by address: blocks not free_completed
	blocks  []block
	bytes   int64 // of the live blocks
}

type block struct {
	size      int64
	stream    int32
	requested bool // free_requested was seen
}

func newPairing(device, events int) *pairing {
	return &pairing{
		h:       &History{Device: device, Events: make([]Event, 0, events)},
		streams: map[uint64]int32{},
		live:    map[uint64]int32{},
	}
}

func (p *pairing) add(item any) error {
	e, err := p.parse(item)
	if err != nil {
		return err
	}
	switch e.Action {
	case Alloc:
		return p.alloc(e)
	case FreeRequested, FreeCompleted:
		p.free(e)
	case Other:
		p.h.Others++
		p.emit(e)
	default:
		p.emit(e)
	}
	return nil
}

func (p *pairing) emit(e Event) { p.h.Events = append(p.h.Events, e) }

func (p *pairing) alloc(e Event) error {
	if old, ok := p.live[e.Addr]; ok {
		p.h.Reused++
		p.imply(FreeCompleted, old, e)
	}
	if len(p.blocks) > math.MaxInt32-1 {
		return fmt.Errorf("%w: more than %d allocs", ErrTooLarge, math.MaxInt32-1)
	}
	if e.Size > math.MaxInt64-p.bytes { // RequestedPeaks relies on it
		return malformed("size %d: more than 2^63 bytes are live", e.Size)
	}
	p.bytes += e.Size
	e.Block = int32(len(p.blocks))
	p.live[e.Addr] = e.Block
	p.blocks = append(p.blocks, block{size: e.Size, stream: e.Stream})
	p.h.Mallocs++
	p.emit(e)
	return nil
}

func (p *pairing) free(e Event) {
	id, ok := p.live[e.Addr]
	if !ok || e.Action == FreeRequested && p.blocks[id].requested {
		p.h.Skipped++
		p.emit(e)
		return
	}
	e.Block = id
	p.finish(e)
}

// imply makes up the event that a block must have had before e.
func (p *pairing) imply(a Action, id int32, e Event) {
	b := &p.blocks[id]
	p.h.Implied++
	p.finish(Event{Addr: e.Addr, Size: b.size, TimeUS: e.TimeUS, Block: id, Stream: b.stream, Action: a})
}

// finish records a free of a live block.
func (p *pairing) finish(e Event) {
	b := &p.blocks[e.Block]
	switch {
	case e.Action == FreeRequested:
		b.requested = true
		p.h.Frees++
	case !b.requested:
		p.imply(FreeRequested, e.Block, e)
	}
	if e.Action == FreeCompleted {
		delete(p.live, e.Addr)
		p.bytes -= b.size
	}
	p.emit(e)
}

var actions = map[string]Action{
	"alloc": Alloc, "free_requested": FreeRequested, "free_completed": FreeCompleted,
	"segment_alloc": SegmentAlloc, "segment_free": SegmentFree,
}

// parse reads one entry of a trace. Of an Other event only what it has must be
// sound: "oom" has no addr.
func (p *pairing) parse(item any) (Event, error) {
	e := Event{Block: -1, Stream: -1}
	d, ok := item.(*dict)
	if !ok {
		return e, malformed("%s, want a dict", describe(item))
	}
	name, ok := d.action.(string)
	if !ok {
		return e, malformed("action is %s, want a str", describe(d.action))
	}
	e.Action = actions[name]
	known := e.Action != Other

	var err error
	if known || d.addr != nil {
		if e.Addr, err = asAddress(d.addr); err != nil {
			return e, malformed("addr is %v", err)
		}
	}
	if known || d.size != nil {
		if e.Size, err = asSize(d.size); err != nil {
			return e, malformed("size is %v", err)
		}
	}
	if d.timeUS != nil {
		if e.TimeUS, err = asInt64(d.timeUS); err != nil {
			return e, malformed("time_us is %v", err)
		}
	}
	if known {
		handle, err := asHandle(d.stream)
		if err != nil {
			return e, malformed("stream is %v", err)
		}
		e.Stream = p.stream(handle)
	}
	return e, nil
}

// stream gives a handle's index in History.Streams.
func (p *pairing) stream(handle uint64) int32 {
	i, ok := p.streams[handle]
	if !ok {
		i = int32(len(p.h.Streams))
		p.streams[handle] = i
		p.h.Streams = append(p.h.Streams, handle)
	}
	return i
}
