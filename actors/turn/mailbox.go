package turn

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/internal/steps"
)

// line is what the word gets to itself: two cache lines, because the adjacent
// one is prefetched on amd64, and one on Apple's arm64.
const line = 128

// Mailbox is one actor's mailbox (an actor.Mailbox) and its turn: at most one
// goroutine at a time is inside the actor, either the run loop, which serves
// what was posted, or a caller that entered. All methods may be called from any
// goroutine unless they say that the caller holds the turn.
//
// Entering from inside the turn fails, and posting there and waiting for the
// answer is a deadlock, as with a mutex. Posting without waiting is fine.
//
// Compared with protoactor's own mailbox: messages sent before *actor.Started
// was handled wait for it; a nil message is delivered; and *actor.Restart is
// ignored once *actor.Stop was handled, where protoactor would bring a stopped
// actor back to life without its PID. A panic while *actor.Stop is handled lets
// the supervisor restart the actor as usual, but ops are refused for good.
type Mailbox struct {
	seam       seam.Seam
	invoker    actor.MessageInvoker // set by RegisterHandlers, as is dispatcher
	dispatcher actor.Dispatcher
	runFn      func() // m.run; a method value made per use would allocate
	errands    func()
	spawned    atomic.Bool

	_    [line]byte
	word steps.Uint32
	_    [line - 4]byte

	user, sys queue
	queued    atomic.Int64 // user messages and ops
	held      list         // the holder's: foreign messages of a stopped actor that is held back
	ended     bool         // the holder's: *actor.Stop was handled
}

var _ actor.Mailbox = (*Mailbox)(nil)

// New returns the mailbox of an actor that is yet to be spawned with it; until
// then, what is posted waits.
//
// errands, which may be nil, deals with all that callers of Leave have put down
// for the actor, in a place of its own that they don't share with this package.
// The turn's holder calls it, on whatever goroutine that is: it should be short,
// and take each thing off before it acts on it, as after a panic it is called
// again for the rest. It may find nothing. Once *actor.Stop was posted it may be
// called before or after the actor has handled that, and must know which.
func New(s seam.Seam, errands func()) *Mailbox {
	if errands == nil {
		errands = func() {}
	}
	m := &Mailbox{seam: s, errands: errands}
	m.runFn = m.run
	m.word.Store(running | unborn)
	return m
}

// Producer is for actor.WithMailbox. A mailbox serves one actor, once: a second
// spawn with it panics.
func (m *Mailbox) Producer() actor.MailboxProducer {
	return func() actor.Mailbox {
		if m.spawned.Swap(true) {
			panic("turn: a Mailbox serves one actor, but its Producer was used for a second spawn")
		}
		return m
	}
}

// TryEnter takes the turn if the actor is alive, idle and has nothing queued.
// The caller then holds it until Exit or Panicked. Never blocks.
func (m *Mailbox) TryEnter() bool { return m.word.CompareAndSwap(0, running) }

// queuedSpins: who finds others queued waits that many steps for them to be served,
// then queues up as well. On two cores waiting longer would do, on sixteen waiters
// that keep looking cost more than the queue.
const queuedSpins = 4

// Enter is TryEnter, but waits briefly while another goroutine is inside, longer
// from look to look, so that whoever is inside gets on. False: the actor is busy
// for longer, held back or stopped, or has work queued; then Post keeps the order.
func (m *Mailbox) Enter() bool {
	return m.word.CompareAndSwap(0, running) || m.enterSlow()
}

func (m *Mailbox) enterSlow() bool {
	for i := 0; m.seam.Spin(i); i++ {
		switch w := m.word.Load(); {
		case w == 0:
			if m.TryEnter() {
				return true
			}
		case heldBack(w) || w&stopped != 0:
			return false
		case w&userPending != 0 && i >= queuedSpins:
			return false
		}
	}
	return false
}

// Exit lets go of the turn, which the caller holds. If something was posted
// meanwhile the turn passes to the run loop instead, on another goroutine. If
// something was only left, errands is called here; a panic in it is the actor's
// failure, and Exit returns.
func (m *Mailbox) Exit() {
	if !m.word.CompareAndSwap(running, 0) {
		m.exitSlow()
	}
}

// Panicked is for a caller that holds the turn and whose handler panicked: call
// it in the deferred function with what recover returned, nil meaning that the
// handler called runtime.Goexit. It tells the supervisor, passes the turn to the
// run loop and returns a *PanicError. What is posted from then on waits for the
// supervisor's decision.
func (m *Mailbox) Panicked(v any) error {
	defer m.handOver() // also if the supervisor's strategy panics
	err := newPanicError(v)
	m.invoker.EscalateFailure(err.Value, nil)
	return err
}

// Stopped reports whether the actor was told to stop; it may still be handling
// what it is in.
func (m *Mailbox) Stopped() bool { return m.word.Load()&stopped != 0 }

// Post queues op behind everything its sender has sent before. Never blocks and
// doesn't allocate. ErrStopped: op was not queued, neither Run nor Fail will be
// called. After nil one of them will.
func (m *Mailbox) Post(op Op) error {
	if m.Stopped() {
		return ErrStopped
	}
	n := op.Header()
	n.op = op
	m.postUser(n)
	return nil
}

// PostUserMessage queues a message for the actor's Receive. As in protoactor's
// own mailbox, a batch is delivered as each of its messages and then as itself.
func (m *Mailbox) PostUserMessage(message any) {
	if batch, ok := actor.UnwrapEnvelopeMessage(message).(actor.MessageBatch); ok {
		for _, msg := range batch.GetMessages() {
			m.PostUserMessage(msg)
		}
	}
	m.postUser(foreign(message))
}

// PostSystemMessage queues a message that is served before every user message.
// From *actor.Stop on, ops are refused, and the queued ones fail.
func (m *Mailbox) PostSystemMessage(message any) {
	bits := sysPending
	if _, ok := message.(*actor.Stop); ok {
		bits |= stopped
	}
	m.sys.push(foreign(message))
	m.publish(bits)
}

func (m *Mailbox) postUser(n *Node) {
	m.queued.Add(1)
	m.user.push(n)
	m.publish(userPending)
}

// publish sets bits, after a push, and starts the run loop if nobody is inside.
func (m *Mailbox) publish(bits uint32) {
	for {
		w := m.word.Load()
		next, start := posted(w, bits)
		if next != w && !m.word.CompareAndSwap(w, next) {
			continue
		}
		if start {
			m.handOver()
		}
		return
	}
}

// RegisterHandlers is protoactor's: it connects the mailbox to its actor.
func (m *Mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.invoker, m.dispatcher = invoker, dispatcher
	if !m.letGo() { // the turn that New held
		m.handOver()
	}
}

// Start is protoactor's; *actor.Started is what starts the actor.
func (m *Mailbox) Start() {}

// UserMessageCount is the number of messages and ops that are queued.
func (m *Mailbox) UserMessageCount() int { return int(m.queued.Load()) }
