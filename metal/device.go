// Package metal is the contract between metalloc and a device that memory is
// taken from: a GPU, the host, or a simulation of one.
//
// A device is a [Device]. What it can do beyond naming itself are capabilities,
// each an interface of its own that a device implements or lacks:
//
//	Pager      address ranges mapped page by page (CUDA's virtual memory calls, the host)
//	Segmenter  whole segments, taken and released as one piece (Metal buffers, plain cudaMalloc)
//	Wirer      pages kept resident
//	Marker     points on the device's queues that can be polled and waited for
//	Meter      what the device says it has given out
//	Pressurer  word of memory getting short
//
// A device needs Pager or Segmenter; everything else is optional. All sizes are
// bytes in int64. The runtime calls Pager, Segmenter and Wirer from one
// goroutine at a time (the metal actor); Marker, Meter and Pressurer from any
// goroutine.
//
// Stable: the names in this package are part of metalloc's promised surface.
package metal

import (
	"fmt"
	"time"
)

// Info says what a device is. It does not change while the device is open.
type Info struct {
	Kind        string // "host", "sim", "cuda", "metal"
	Name        string // for people
	Memory      int64  // bytes the device has in all
	WorkingSet  int64  // recommended maximum to keep in use, bytes; ≤ Memory
	PageSize    int64  // what a Pager maps, a power of two; 0 without Pager
	HandleSize  int64  // largest handle worth creating, a multiple of PageSize, on a device whose calls cost by the handle; 0: PageSize
	Aliases     bool   // a Pager's handle may be mapped at several places at a time
	MaxBuffer   int64  // largest single block, bytes; 0: Memory
	Alignment   int64  // blocks start and end at multiples of it; a power of two, at least 512
	HostVisible bool   // the host can read and write the memory at Block addresses
	Zeroed      bool   // memory newly created reads as zero
}

// Device is one place to take memory from. Whoever opened it closes it, after
// the runtimes that use it are closed.
type Device interface {
	Info() Info

	// Close ends the device. While memory or address ranges are still taken it
	// gives ErrBusy and changes nothing. Closing again is nil.
	Close() error
}

// Range is a reserved piece of address space: no memory until pages are mapped
// into it. Offsets into it are bytes from Addr.
type Range struct {
	Addr uintptr
	Size int64
}

// Handle names a piece of physical memory made by [Pager.Create] or
// [Segmenter.Alloc]. Zero is never a handle.
type Handle uint64

// Pager maps physical memory into address ranges, page by page.
//
// A handle moves whole: it is mapped at one place or at none, and an Unmap must
// cover whole handles. None of the calls waits for queued work, so a caller
// unmaps only what no queued work can still touch (see Marker).
//
// With Info.Aliases a handle can be mapped at further places. That takes no more
// memory, and work queued later sees through one place what work before it has
// written through another (CUDA Programming Guide, "Virtual Aliasing Support").
type Pager interface {
	// Reserve takes address space; size is a multiple of the page size.
	Reserve(size int64) (Range, error)
	// Unreserve gives a range back. Pages still mapped in it: ErrBusy.
	Unreserve(r Range) error
	// Create takes size bytes of physical memory, a multiple of the page size.
	// ErrOutOfMemory when the device has no more.
	Create(size int64) (Handle, error)
	// Release gives physical memory back to the device. Still mapped anywhere:
	// ErrBusy.
	Release(h Handle) error
	// Map places handles one after the other from offset on and makes them
	// readable and writable. All or nothing. ErrOutOfMemory where memory that was
	// created turns out not to be there.
	Map(r Range, offset int64, hs []Handle) error
	// Unmap takes whole handles out of a range; they stay created. A page that is
	// still wired: ErrBusy.
	Unmap(r Range, offset, size int64) error
}

// Segment is memory taken as one piece, mapped where the device chose.
type Segment struct {
	Handle Handle
	Addr   uintptr
	Size   int64 // at least what was asked for: devices round up
}

// Segmenter takes and releases whole segments.
type Segmenter interface {
	// Alloc takes at least size bytes. ErrOutOfMemory, ErrTooLarge (over
	// MaxBuffer).
	Alloc(size int64) (Segment, error)
	// Free gives a segment back. Still wired: ErrBusy.
	Free(s Segment) error
}

// Wirer keeps memory resident. Addresses and sizes are those of whole mapped
// pages, any number side by side in one range, or of one whole segment; others
// are ErrUnknownHandle or ErrInvalidSize. Wiring does not nest: one Unwire undoes
// any number of Wires, and either is nil where there is nothing to do. What is
// wired must be unwired before it is unmapped or freed.
type Wirer interface {
	// Wire returns ErrLimitExceeded, naming the system's limit, when the system
	// refuses; nothing more is wired then than before.
	Wire(addr uintptr, size int64) error
	Unwire(addr uintptr, size int64) error
}

// Queue is the driver's handle of an ordered queue of device work (a CUstream,
// an MTLCommandQueue, a [SoftQueue]). Zero is no queue: marks recorded on it are
// reached at once.
type Queue uintptr

// Mark is a point in a queue: all work put into the queue before the mark was
// recorded lies before it. Comparable; the zero Mark is reached.
type Mark struct {
	Queue Queue
	Seq   uint64
}

// Marker records marks and tells when they are reached. Safe for concurrent use.
type Marker interface {
	// Record puts a mark behind all work queued so far. It only enqueues.
	Record(q Queue) (Mark, error)
	// Reached never blocks. An error says that the queue will never get there.
	Reached(m Mark) (bool, error)
	// Notify calls f once, on any goroutine and at once if the mark is reached
	// already, when the mark is reached or its queue has failed. f must not
	// block.
	Notify(m Mark, f func())
}

// SoftQueuer makes queues whose progress the program reports itself, for
// devices without queues of their own.
type SoftQueuer interface {
	NewQueue() (*SoftQueue, error)
}

// Usage is what the device itself says.
type Usage struct {
	Taken     int64 // physical memory this process holds through this Device, mapped or not
	Available int64 // what could still be taken; -1: unknown
	Wired     int64 // of Taken, kept resident
}

// Meter reports usage. Safe for concurrent use.
type Meter interface {
	Usage() (Usage, error)
}

// Level says how short memory is.
type Level uint8

// The levels, in ascending order.
const (
	Normal   Level = iota
	Warn           // give back what is easily done without
	Critical       // give back all that can be: programs may be killed next
)

func (l Level) String() string {
	switch l {
	case Normal:
		return "normal"
	case Warn:
		return "warn"
	case Critical:
		return "critical"
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// Pressurer tells when the memory that a device takes from gets short, whoever
// uses it. Safe for concurrent use.
type Pressurer interface {
	// WatchPressure has f called with the new level when it changes, and now and
	// then again while it is above Normal, so that who gives back in steps goes on.
	// It starts at Normal without a call. f is called on any goroutine, not by two
	// at a time, and must not block, nor call stop or the device's Close.
	//
	// stop returns when f is not running and will not be called again; stopping
	// again does nothing. Closing the device stops all watchers.
	//
	// ErrUnsupported where there is nothing to watch.
	WatchPressure(f func(Level)) (stop func(), err error)
}

// Modeler is a device whose calls take modelled instead of real time.
type Modeler interface {
	// ModelledTime is the sum of what all calls so far would have taken.
	ModelledTime() time.Duration
}
