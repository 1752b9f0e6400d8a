package turn

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/metalloc/metalloc/internal/seam"
)

// counter is the state that the turn guards; it outlives the actor.
type counter struct {
	m *Mailbox
	n int
}

// addOp is the call as an op, for when the actor is busy.
type addOp struct {
	Node
	c    *counter
	by   int
	n    int
	err  error
	done seam.Gate
}

func (o *addOp) Run()           { o.n = o.c.add(o.by); o.done.Open() }
func (o *addOp) Fail(err error) { o.err = err; o.done.Open() }

// add needs the turn.
func (c *counter) add(by int) int {
	c.n += by
	return c.n
}

// Add runs on the caller's goroutine if the actor is idle; else it is posted.
func (c *counter) Add(by int) (n int, err error) {
	if !c.m.Enter() {
		o := &addOp{c: c, by: by, done: seam.Real.NewGate()}
		if err := c.m.Post(o); err != nil {
			return 0, err
		}
		o.done.Wait()
		return o.n, o.err
	}
	ok := false
	defer func() {
		if !ok {
			err = c.m.Panicked(recover())
		}
	}()
	n = c.add(by)
	ok = true
	c.m.Exit()
	return n, nil
}

func Example() {
	c := &counter{m: New(seam.Real, nil)}
	d := NewDispatcher(seam.Real, 300, 4)
	defer d.Close()
	pid := system.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {},
		actor.WithMailbox(c.m.Producer()), actor.WithDispatcher(d)))

	fmt.Println(c.Add(1))
	fmt.Println(c.Add(2))
	_ = system.Root.PoisonFuture(pid).Wait()
	fmt.Println(c.Add(3))
	// Output:
	// 1 <nil>
	// 3 <nil>
	// 0 turn: actor is stopped
}
