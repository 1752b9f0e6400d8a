package allocator

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/metal"
)

// Option changes what Open does. Of an option given twice the last counts. The
// defaults are MLX's: memory limit min(1.5 × working set, 0.95 × memory), cache
// limit as the memory limit, wired limit 0, policy Guide.
type Option func(*config)

type config struct {
	actors.Config
	fromEnv func(string) (string, bool) // nil: not asked for
	err     error
}

// WithMemoryLimit bounds reserved, bytes; NoLimit and DefaultLimit are limits too.
func WithMemoryLimit(n int64) Option { return func(c *config) { c.MemoryLimit = n } }

// WithCacheLimit bounds the cache, bytes; 0 gives freed memory back at once.
func WithCacheLimit(n int64) Option { return func(c *config) { c.CacheLimit = n } }

// WithWiredLimit bounds what is kept resident, bytes; over the working set Open
// fails.
func WithWiredLimit(n int64) Option { return func(c *config) { c.WiredLimit = n } }

// WithPolicy says what happens above the memory limit. Wait is not supported
// yet: Open gives ErrUnsupported.
func WithPolicy(p Policy) Option { return func(c *config) { c.Policy = p } }

// WithLogger receives what goes wrong without an error to a caller, and the
// actor system's own log when Open makes one. Without it nothing is logged. It is
// written to on goroutines of its own, maybe not in order, and may call anything
// of the runtime but Close, which waits for it.
func WithLogger(l *zap.Logger) Option { return func(c *config) { c.Logger = l } }

// WithActorSystem runs the actors in the program's own system, which Close then
// leaves running. A system costs about 2.5 MiB: a program with several runtimes
// shares one (NewSystem).
func WithActorSystem(s *actors.System) Option { return func(c *config) { c.System = s } }

// WithZero has every buffer read as zero when it is handed out, at the cost of
// writing it, unless its memory is new from a device that gives zeros. Open gives
// ErrUnsupported where the host can't see the device's memory.
func WithZero() Option { return func(c *config) { c.Zero = true } }

// OnPressure has f asked, outside of any turn and on a goroutine of its own,
// before a malloc is refused by a limit or because the device is full. f frees
// what the program can do without, need bytes or what there is, and returns how
// much it freed; then the malloc tries once more. f may be called by several at a
// time and call anything of the runtime but Close, which waits for it; a malloc of
// its own that is refused asks again, f too, 16 deep at most. A panic in f is
// logged and counts as nothing freed. Several hooks are asked in the order of the
// options until enough is freed.
func OnPressure(f func(need int64) (freed int64)) Option {
	return func(c *config) { c.OnPressure = append(c.OnPressure, f) }
}

// WithReclaimOnPressure gives caches back when the device's system runs short of
// memory: half of them when it warns, all when it is critical. On Linux hosts
// the signs are the kernel's pressure stall information and the control group's
// memory.events. Open gives ErrUnsupported for a device that reports none.
func WithReclaimOnPressure() Option { return func(c *config) { c.Relieve = true } }

// DefaultIdle for WithIdleRelease: a time that adapts.
const DefaultIdle = actors.DefaultIdle

// WithIdleRelease gives free memory back to the device that has been idle for that
// long, the longest idle first; it takes up to a quarter longer, at least 50 ms. A
// stream's pages go only behind the work on its queue. 0: all is kept, as by MLX and
// PyTorch. DefaultIdle, the default, adapts between 100 ms and a minute: it becomes
// longer than the time after which memory that was given back is missed, so that a
// program that needs memory every few seconds keeps it, and shorter while nothing is
// missed. Open gives ErrInvalidSize for another negative time.
//
// Where the device tells what is left of it (metal.Meter) free memory goes back at
// once, however young, when less than a twentieth is left and others hold as much.
func WithIdleRelease(after time.Duration) Option { return func(c *config) { c.Idle = after } }

// Clock is a time that a runtime can live by; [metal.VirtualClock] is one.
type Clock = actors.Clock

// WithClock replaces the time by which memory counts as idle; [metal.VirtualClock] is
// such a clock. It is for tests: what its AfterFunc calls waits for the device.
func WithClock(clock Clock) Option { return func(c *config) { c.Clock = clock } }

// WithSeam replaces the scheduler. It is for metalloc's own tests: its type
// can't be named elsewhere.
func WithSeam(s seam.Seam) Option { return func(c *config) { c.Seam = s } }

// Open starts a runtime on a device, which stays the caller's to close after the
// runtime. ErrUnsupported for a device that neither maps pages nor gives
// segments, ErrInvalidSize for a negative limit.
func Open(dev metal.Device, opts ...Option) (*Runtime, error) {
	cfg := config{Config: actors.Config{MemoryLimit: DefaultLimit, CacheLimit: DefaultLimit, Idle: DefaultIdle}}
	for _, o := range opts {
		o(&cfg)
	}
	if cfg.fromEnv != nil && dev != nil {
		cfg.err = cfg.applyEnv(dev.Info())
	}
	if cfg.err != nil {
		return nil, fmt.Errorf("allocator: open: %w", cfg.err)
	}
	core, err := actors.Start(dev, cfg.Config)
	if err != nil {
		return nil, fmt.Errorf("allocator: open: %w", err)
	}
	return &Runtime{core: core}, nil
}

// StreamOption changes what NewStream does.
type StreamOption func(*actors.StreamConfig)

// WithName names the stream in snapshots, logs and errors. The default is
// "stream-<number>"; names need not differ.
func WithName(name string) StreamOption { return func(c *actors.StreamConfig) { c.Name = name } }

// WithTag marks the stream for accounting by owner; streams may share a tag.
func WithTag(tag string) StreamOption { return func(c *actors.StreamConfig) { c.Tag = tag } }

// WithStreamMemoryLimit bounds the stream's own reserved, bytes, beside the
// runtime's limit and with the same policy: no tenant starves the others.
func WithStreamMemoryLimit(n int64) StreamOption {
	return func(c *actors.StreamConfig) { streamLimits(c).Memory = n }
}

// WithStreamCacheLimit bounds the stream's own cache, bytes.
func WithStreamCacheLimit(n int64) StreamOption {
	return func(c *actors.StreamConfig) { streamLimits(c).Cache = n }
}

func streamLimits(c *actors.StreamConfig) *actors.StreamLimits {
	if c.Limits == nil {
		c.Limits = &actors.StreamLimits{Memory: NoLimit, Cache: NoLimit}
	}
	return c.Limits
}

// WithHandle ties the stream to the driver's queue of that handle. Pages are then
// given up only behind the work queued there, and RecordUse waits for it. Without
// a handle the stream's work counts as done when it is queued.
func WithHandle(q metal.Queue) StreamOption { return func(c *actors.StreamConfig) { c.Queue = q } }
