package turn

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/metalloc/metalloc/internal/seam"
)

// Dispatcher is an actor.Dispatcher that keeps goroutines parked for the next
// mailbox. protoactor's own starts one per wake-up, on a 2 KiB stack, and a
// handler that is a little deep then pays for growing it each time: 1 to 2 µs.
type Dispatcher struct {
	seam       seam.Seam
	throughput int
	maxIdle    int
	gone       seam.Gate // opened when the last worker of a closed dispatcher leaves

	mu      sync.Mutex
	idle    []*worker // the latest to park is at the end, and is woken first: its cache is warm
	workers int       // parked and busy
	closed  bool
}

// worker is one goroutine of the pool.
type worker struct {
	gate seam.Gate
	fn   func() // what to run when the gate opens; nil: leave
}

var _ actor.Dispatcher = (*Dispatcher)(nil)

// NewDispatcher returns a dispatcher whose mailboxes yield after throughput
// messages in a row, and which keeps at most maxIdle goroutines parked.
func NewDispatcher(s seam.Seam, throughput, maxIdle int) *Dispatcher {
	return &Dispatcher{seam: s, throughput: throughput, maxIdle: maxIdle, gone: s.NewGate()}
}

// Throughput is what NewDispatcher was given.
func (d *Dispatcher) Throughput() int { return d.throughput }

// Schedule runs fn on a parked goroutine, or on a new one; it never blocks.
func (d *Dispatcher) Schedule(fn func()) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		d.seam.Go(fn)
		return
	}
	if last := len(d.idle) - 1; last >= 0 {
		w := d.idle[last]
		d.idle = d.idle[:last]
		d.mu.Unlock()
		w.fn = fn
		w.gate.Open()
		return
	}
	d.workers++
	d.mu.Unlock()
	d.seam.Go(func() { d.work(fn) })
}

// Close ends the parked goroutines and waits until they and those still busy
// with a mailbox have gone, so it must not be called from a turn that they
// serve. Schedule goes on working, with a goroutine of its own for each call
// that Close doesn't wait for. A second Close waits for the same goroutines.
func (d *Dispatcher) Close() {
	d.mu.Lock()
	d.closed = true
	idle := d.idle
	d.idle = nil
	none := d.workers == 0
	d.mu.Unlock()
	if none {
		return
	}
	for _, w := range idle {
		w.gate.Open()
	}
	d.gone.Wait()
	d.gone.Open() // for another Close
}

func (d *Dispatcher) work(fn func()) {
	defer d.leave() // also when fn ends the goroutine
	w := &worker{gate: d.seam.NewGate()}
	for fn != nil {
		fn()
		if !d.park(w) {
			return
		}
		w.gate.Wait()
		fn, w.fn = w.fn, nil
	}
}

// park lists w as idle; false: there is no room.
func (d *Dispatcher) park(w *worker) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.idle) >= d.maxIdle {
		return false
	}
	d.idle = append(d.idle, w)
	return true
}

func (d *Dispatcher) leave() {
	d.mu.Lock()
	d.workers--
	last := d.closed && d.workers == 0
	d.mu.Unlock()
	if last {
		d.gone.Open()
	}
}
