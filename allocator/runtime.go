package allocator

import (
	"context"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/telemetry"
)

// The types and errors that live in lower packages; == and errors.Is hold across.
type (
	// Stream is one GPU stream's allocator.
	Stream = actors.Stream
	// Buffer is a piece of device memory.
	Buffer = actors.Buffer
	// AllocError is what Malloc, Free and their like return.
	AllocError = actors.AllocError
	// Shortage is why memory was refused, in an AllocError.
	Shortage = actors.Shortage
	// Holding is what one stream holds, in a Shortage.
	Holding = actors.Holding
	// LiveGroup is live buffers of one size, in a Holding.
	LiveGroup = actors.LiveGroup
	// LeakError is what Close returns while buffers live.
	LeakError = actors.LeakError
	// MallocOptions are what MallocWith can do beyond Malloc.
	MallocOptions = actors.MallocOptions
	// LiveBuffer is one buffer that somebody holds.
	LiveBuffer = actors.LiveBuffer
	// Policy says what happens above the memory limit.
	Policy = actors.Policy
)

// The policies and the special limits; see their types.
const (
	Guide  = actors.Guide
	Refuse = actors.Refuse
	Wait   = actors.Wait

	NoLimit      = actors.NoLimit
	DefaultLimit = actors.DefaultLimit
)

// The errors, each for a different remedy.
var (
	ErrOutOfMemory   = actors.ErrOutOfMemory
	ErrLimitExceeded = actors.ErrLimitExceeded
	ErrTooLarge      = actors.ErrTooLarge
	ErrInvalidSize   = actors.ErrInvalidSize
	ErrDoubleFree    = actors.ErrDoubleFree
	ErrForeignBuffer = actors.ErrForeignBuffer
	ErrNoRoom        = actors.ErrNoRoom
	ErrClosed        = actors.ErrClosed
	ErrUnsupported   = actors.ErrUnsupported
	ErrBusy          = actors.ErrBusy
	ErrStreamFailed  = actors.ErrStreamFailed
	ErrDeviceLost    = actors.ErrDeviceLost
)

// NewSystem makes an actor system that several runtimes can share
// (WithActorSystem); it logs to log, nil: nowhere. Who made it ends it.
func NewSystem(log *zap.Logger) *actors.System {
	if log == nil {
		log = zap.NewNop()
	}
	return actors.NewSystem(log)
}

// FreeAll frees what it can and joins the errors of the rest.
func FreeAll(bs []Buffer) error { return actors.FreeAll(bs) }

// Runtime is one device's memory. All methods may be called from any goroutine.
type Runtime struct{ core *actors.Core }

// NewStream opens a stream. ErrClosed after Close; a queue handle that the
// device doesn't know is its error.
func (r *Runtime) NewStream(opts ...StreamOption) (*Stream, error) {
	var cfg actors.StreamConfig
	for _, o := range opts {
		o(&cfg)
	}
	return r.core.NewStream(cfg)
}

// ActiveMemory is the bytes in live buffers now, rounded up to the alignment.
// Like every query it is a message to the supervisor: it tells what was true at
// one instant between call and return, and never waits for a device.
func (r *Runtime) ActiveMemory() int64 { return r.core.ActiveMemory() }

// PeakMemory is the highest ActiveMemory since start or ResetPeakMemory, bytes.
func (r *Runtime) PeakMemory() int64 { return r.core.PeakMemory() }

// CacheMemory is the bytes freed and kept for reuse.
func (r *Runtime) CacheMemory() int64 { return r.core.CacheMemory() }

// ReservedMemory is the bytes taken from the device: active, cache, and the
// other free bytes of pages that hold live buffers (slack).
func (r *Runtime) ReservedMemory() int64 { return r.core.ReservedMemory() }

// MemoryLimit is the memory limit in force, bytes.
func (r *Runtime) MemoryLimit() int64 { return r.core.MemoryLimit() }

// CacheLimit is the cache limit in force, bytes.
func (r *Runtime) CacheLimit() int64 { return r.core.CacheLimit() }

// WiredLimit is the wired limit in force, bytes.
func (r *Runtime) WiredLimit() int64 { return r.core.WiredLimit() }

// ResetPeakMemory sets the peak to 0; it follows active from the next malloc on.
// Streams keep their own peaks.
func (r *Runtime) ResetPeakMemory() { r.core.ResetPeakMemory() }

// SetMemoryLimit bounds reserved, bytes, and returns the limit before; NoLimit
// and DefaultLimit are limits too. The limit is looked at when memory is taken
// from the device, never when a malloc is served from what is reserved.
// Lowering gives caches back before it returns; what is in use stays, and is
// logged as a warning. ErrInvalidSize for other negative sizes: nothing changed.
func (r *Runtime) SetMemoryLimit(n int64) (previous int64, err error) {
	return r.core.SetMemoryLimit(n)
}

// SetCacheLimit bounds the cache, bytes, and returns the limit before. 0 gives
// freed memory back at once. Lowering trims before it returns; memory that
// queued work may still use follows when that is done.
func (r *Runtime) SetCacheLimit(n int64) (previous int64, err error) {
	return r.core.SetCacheLimit(n)
}

// SetWiredLimit bounds what is kept resident, bytes, and returns the limit
// before. Raising wires what exists and fits, lowering unwires; it waits for the
// device. ErrInvalidSize over the working set, ErrUnsupported on a device that
// can't wire, ErrLimitExceeded when the system refuses: nothing changed then.
func (r *Runtime) SetWiredLimit(n int64) (previous int64, err error) {
	return r.core.SetWiredLimit(n)
}

// ClearCache gives everything reusable back to the device and returns how many
// bytes went. What queued work may still use follows when that is done.
func (r *Runtime) ClearCache() (released int64, err error) { return r.core.ClearCache() }

// Snapshot is one consistent picture: totals, each stream, limits, the device.
func (r *Runtime) Snapshot() telemetry.Snapshot { return r.core.Snapshot() }

// Measure calls f and returns what was active, in the whole runtime, before and
// after it, and the highest active at any instant between; bytes. Spans nest and
// overlap, from any goroutines, and each has its own peak: no reset is needed,
// nor does one disturb them. The error is f's; a panic of f goes through. f gets
// ctx; nil counts as context.Background(). Measure itself never blocks for long
// and doesn't look at ctx.
func (r *Runtime) Measure(ctx context.Context, name string, f func(context.Context) error) (telemetry.Span, error) {
	return r.core.Measure(ctx, name, f)
}

// LiveBuffers lists the live buffers of all streams, closed ones included. It
// walks each stream's memory in its turn: for tests and reports.
func (r *Runtime) LiveBuffers() []LiveBuffer { return r.core.LiveBuffers() }

// TrackCallSites has each malloc from now on note where it was called, for
// LiveBuffers, until stop is called. It slows mallocs down: for tests.
func (r *Runtime) TrackCallSites() (stop func()) { return r.core.TrackCallSites() }

// Settle waits until no freed memory waits for queued work any more, on any
// stream; with ctx it ends early.
func (r *Runtime) Settle(ctx context.Context) error { return r.core.Settle(ctx) }

// Supervisor is the actor that the runtime-wide messages of package actors go
// to. Valid until Close.
func (r *Runtime) Supervisor() *actors.PID { return r.core.SupervisorPID() }

// Close ends the runtime: Malloc gives ErrClosed from then on, misses under way
// and queued work that uses freed memory are waited for, all free memory goes
// back, every goroutine ends. If buffers still live it returns a *LeakError:
// their memory stays mapped, Free stays possible, and a second Close gives back
// what was freed meanwhile. Queries go on answering; after a clean Close active,
// cache and reserved are 0 and the peak stays. When ctx ends first the error
// unwraps to ctx's, and Close can be called again.
func (r *Runtime) Close(ctx context.Context) error { return r.core.Close(ctx) }
