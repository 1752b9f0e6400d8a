package actors

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/eventstream"
	"go.uber.org/zap"

	"github.com/metalloc/metalloc/actors/ledger"
	"github.com/metalloc/metalloc/actors/turn"
	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/streams"
)

type (
	run  = streams.PageRun
	runs = []streams.PageRun
)

// Config is what a runtime is started with.
type Config struct {
	System      *System // nil: one is made, quiet, and ended with the runtime
	Logger      *zap.Logger
	MemoryLimit int64 // bytes, NoLimit or DefaultLimit
	CacheLimit  int64
	WiredLimit  int64
	Policy      Policy
	Relieve     bool                     // give caches back when the device reports pressure
	Zero        bool                     // every buffer is zeroed before it is handed out
	OnPressure  []func(need int64) int64 // see allocator.OnPressure
	Seam        seam.Seam                // nil: seam.Real
	Idle        time.Duration            // free memory that was idle for so long goes back; 0: none does; or DefaultIdle
	Clock       Clock                    // nil: the real time; with a Seam of tests none, and Idle has no effect
}

// Core is one runtime: a device, its supervisor and metal actor, and the streams.
type Core struct {
	dev    metal.Device
	info   metal.Info
	marks  *marks // nil: the device has none
	seam   seam.Seam
	clock  Clock
	log    *zap.Logger
	policy Policy
	hooks  []func(need int64) int64

	alwaysZero bool
	tracking   atomic.Int32 // who wants call sites noted
	slow       atomic.Int32 // alwaysZero and tracking: if any, mallocs take the long way
	pressing   atomic.Int32 // rounds of asking the hooks

	sys        *System
	ownSystem  bool
	dispatcher *turn.Dispatcher
	deadSub    *eventstream.Subscription

	ledger *ledger.Ledger
	sup    supervisor
	metal  metalActor
	relief relief
	told   told
	giver  giver

	calls    sync.Pool
	ids      atomic.Uint64
	closing  atomic.Bool
	underway atomic.Int64 // what Close waits for: tickets, sweeps, streams being opened or closed, …
	idle     seam.Gate    // opened when underway falls to 0

	closeTurn seam.Gate // open: no Close is under way
	ended     bool      // Close's: everything that ran has stopped
}

const (
	throughput  = 300 // messages a run loop serves before it yields; protoactor's default
	idleWorkers = 64  // parked goroutines kept by the dispatcher
)

// Start opens a runtime on the device.
func Start(dev metal.Device, cfg Config) (*Core, error) {
	if dev == nil {
		return nil, fmt.Errorf("device is nil: %w", ErrUnsupported)
	}
	if cfg.Policy > Refuse {
		return nil, fmt.Errorf("policy %v: %w", cfg.Policy, ErrUnsupported)
	}
	info := dev.Info()
	c := &Core{dev: dev, info: info, seam: cfg.Seam, policy: cfg.Policy, sys: cfg.System, hooks: cfg.OnPressure}
	if c.seam == nil {
		c.seam = seam.Real
	}
	if c.clock = cfg.Clock; c.clock == nil && c.seam == seam.Real {
		c.clock = realClock{time.Now()}
	} else if c.clock == nil {
		c.clock = &stepClock{}
	}
	c.log = c.logLater(cfg.Logger)
	mem, err := resolve("memory limit", cfg.MemoryLimit, defaultMemoryLimit(info))
	if err != nil {
		return nil, err
	}
	cache, err := resolve("cache limit", cfg.CacheLimit, mem)
	if err != nil {
		return nil, err
	}
	if err := c.metal.open(c); err != nil {
		return nil, err
	}
	if err := c.giver.open(c, cfg.Idle); err != nil {
		return nil, err
	}
	if cfg.Zero {
		if err := c.canZero(); err != nil {
			return nil, err
		}
		c.alwaysZero = true
		c.slow.Add(1)
	}
	c.marks = newMarks(dev)
	c.idle, c.closeTurn = c.seam.NewGate(), c.seam.NewGate()
	c.closeTurn.Open()
	c.ledger = ledger.New()
	c.ledger.SetMemoryLimit(mem, reclaimThreshold(info, mem))
	c.ledger.SetCacheLimit(cache)
	if c.sys == nil {
		c.sys, c.ownSystem = NewSystem(c.log), true
	}
	c.dispatcher = turn.NewDispatcher(c.seam, throughput, idleWorkers)
	c.sup.start(c)
	c.metal.start(c)
	c.deadSub = c.sys.EventStream.Subscribe(c.deadLetter)
	if _, err := c.SetWiredLimit(cfg.WiredLimit); err != nil {
		_ = c.Close(context.Background())
		return nil, err
	}
	if cfg.Relieve {
		if err := c.watchPressure(); err != nil {
			_ = c.Close(context.Background())
			return nil, err
		}
	}
	return c, nil
}

// now is the time by which free pages age, nanoseconds.
func (c *Core) now() int64 { return int64(c.clock.Now()) }

// deadLetter frees the buffer of a reply that nobody is left to receive. It runs
// on the sender's goroutine, maybe inside a turn, so it only posts.
func (c *Core) deadLetter(event any) {
	d, ok := event.(*actor.DeadLetterEvent)
	if !ok {
		return
	}
	r, ok := d.Message.(MallocReply)
	if ok && r.Buffer.stream() != nil && r.Buffer.stream().core == c && r.Buffer.block() != nil {
		c.background(func() { _ = r.Buffer.Free() })
	}
}

// begin and end count what is under way, so that Close can wait for it.
func (c *Core) begin() { c.underway.Add(1) }

func (c *Core) end() {
	if c.underway.Add(-1) == 0 && c.closing.Load() {
		c.idle.Open()
	}
}

// background runs f on a goroutine that Close waits for.
func (c *Core) background(f func()) {
	c.begin()
	c.seam.Go(func() {
		defer c.end()
		f()
	})
}

// quiet returns when nothing is under way.
func (c *Core) quiet(ctx context.Context) error {
	for c.underway.Load() != 0 {
		if err := c.idle.WaitContext(ctx); err != nil {
			return c.fail("close", nil, 0, err)
		}
	}
	return nil
}

// fail describes an operation that went wrong.
func (c *Core) fail(op string, s *Stream, size int64, err error) *AllocError {
	f := c.ledger.Totals()
	limit, _ := c.ledger.Limits()
	e := &AllocError{
		Op: op, Device: c.info.Name, Requested: size,
		Active: f.Active, Cache: f.Cache, Limit: limit, Err: err,
	}
	if s != nil {
		e.Stream = s.name
	}
	return e
}
