package bench

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// plain is MLX's rule as the state of an actor of protoactor's, stock mailbox
// and dispatcher. Callers make the device calls: the actor doesn't wait for them.
type plain struct {
	device *device
	root   *actor.RootContext
	pid    *actor.PID
	ask    func(p *plain, c call) answer
	calls  sync.Pool // of *call, with a reply channel; future doesn't need them
}

// call is a message.
type call struct {
	do    func(m *mlx, c *call)
	size  int64
	block *Block
	answer
	reply chan struct{} // the answer is there; nil: a RequestFuture's
}

// answer comes back in the message itself: the actor runs on a new goroutine's
// small stack, and copies would make that grow, for more than all the rest costs.
type answer struct {
	found *Block
	n     int64
	full  bool
	err   error
}

// receiver is the actor.
type receiver struct{ rule *mlx }

// Receive implements actor.Actor.
func (r *receiver) Receive(ctx actor.Context) {
	c, ok := ctx.Message().(*call)
	if !ok {
		return // the life cycle's
	}
	c.do(r.rule, c)
	if c.reply != nil {
		c.reply <- struct{}{}
		return
	}
	ctx.Respond(c)
}

func openSend(e *env) (Allocator[*Block], error)   { return openPlain(e, (*plain).send) }
func openFuture(e *env) (Allocator[*Block], error) { return openPlain(e, (*plain).future) }

func openPlain(e *env, ask func(*plain, call) answer) (Allocator[*Block], error) {
	dev, err := newDevice(e.hook)
	if err != nil {
		return nil, err
	}
	r := &receiver{newMLX(dev.sim.Info(), e.live, dev.release)}
	p := &plain{device: dev, root: e.system.Root, ask: ask}
	p.calls.New = func() any { return &call{reply: make(chan struct{}, 1)} }
	p.pid = p.root.Spawn(actor.PropsFromProducer(func() actor.Actor { return r }))
	return p, nil
}

// send asks with a message that carries a channel; both are used again.
func (p *plain) send(c call) answer {
	pooled := p.calls.Get().(*call)
	pooled.do, pooled.size, pooled.block = c.do, c.size, c.block
	p.root.Send(p.pid, pooled)
	<-pooled.reply
	a := pooled.answer
	pooled.answer = answer{}
	p.calls.Put(pooled)
	return a
}

// replyTimeout is beyond what any reply takes.
const replyTimeout = time.Minute

func (p *plain) future(c call) answer {
	v, err := p.root.RequestFuture(p.pid, &c, replyTimeout).Result()
	if err != nil {
		return answer{err: fmt.Errorf("bench: no reply: %w", err)}
	}
	return v.(*call).answer
}

// The handlers.
func doTake(m *mlx, c *call)   { c.found, c.err = m.take(c.size) }
func doCommit(m *mlx, c *call) { m.commit(c.block) }
func doGive(m *mlx, c *call)   { c.full, c.err = m.give(c.block) }
func doActive(m *mlx, c *call) { c.n = m.active }
func doPeak(m *mlx, c *call)   { c.n = m.peak }
func doCache(m *mlx, c *call)  { c.n = m.cache }
func doReset(m *mlx, _ *call)  { m.peak = 0 }
func doClear(m *mlx, c *call)  { c.err = m.clear() }

func (p *plain) Malloc(_ int, size int64) (*Block, error) {
	size, err := roundMLX(size)
	if err != nil {
		return nil, err
	}
	a := p.ask(p, call{do: doTake, size: size})
	if a.found != nil || a.err != nil {
		return a.found, a.err
	}
	b, err := p.device.alloc(size)
	if err != nil {
		return nil, err
	}
	return b, p.ask(p, call{do: doCommit, block: b}).err
}

func (p *plain) Free(b *Block) error {
	a := p.ask(p, call{do: doGive, block: b})
	if a.full {
		p.device.release(b)
	}
	return a.err
}

func (p *plain) Active() int64 { return p.ask(p, call{do: doActive}).n }
func (p *plain) Peak() int64   { return p.ask(p, call{do: doPeak}).n }
func (p *plain) Cache() int64  { return p.ask(p, call{do: doCache}).n }
func (p *plain) ResetPeak()    { p.ask(p, call{do: doReset}) }

func (p *plain) Close() error {
	err := p.ask(p, call{do: doClear}).err
	return errors.Join(err, p.root.PoisonFuture(p.pid).Wait(), p.device.sim.Close())
}
