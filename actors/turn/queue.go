package turn

import (
	"sync"

	"github.com/metalloc/metalloc/internal/steps"
)

// Node links an op into a mailbox. Embed it in the op: posting then allocates
// nothing. It must not be copied while the op is posted.
type Node struct {
	next *Node
	op   Op  // an op, or
	msg  any // a foreign message
}

// Header makes a struct that embeds Node satisfy that part of Op.
func (n *Node) Header() *Node { return n }

// queue has many producers, which push, and one consumer at a time, the turn's
// holder. The consumer takes all that was pushed in one swap; as nobody pops
// single nodes off the shared stack, a node may be used again at once (no ABA).
type queue struct {
	top   steps.Pointer[Node] // pushed, newest first
	taken *Node               // the holder's, oldest first
}

func (q *queue) push(n *Node) {
	for {
		n.next = q.top.Load()
		if q.top.CompareAndSwap(n.next, n) {
			return
		}
	}
}

// pop returns the oldest node, or nil. bit is the queue's pending bit in word.
func (q *queue) pop(word *steps.Uint32, bit uint32) *Node {
	if q.taken == nil && word.Load()&bit != 0 {
		word.And(^bit) // before the take: who pushes later sets it again
		q.taken = reversed(q.top.Swap(nil))
	}
	n := q.taken
	if n != nil {
		q.taken = n.next
		n.next = nil
	}
	return n
}

func reversed(n *Node) (first *Node) {
	for n != nil {
		n.next, first, n = first, n, n.next
	}
	return first
}

// list is a plain FIFO.
type list struct{ first, last *Node }

func (l *list) push(n *Node) {
	if l.first == nil {
		l.first = n
	} else {
		l.last.next = n
	}
	l.last = n
}

func (l *list) pop() *Node {
	n := l.first
	if n != nil {
		l.first = n.next
		n.next = nil
	}
	return n
}

// foreignNodes carry the messages that aren't ops.
var foreignNodes = sync.Pool{New: func() any { return new(Node) }}

func foreign(msg any) *Node {
	n := foreignNodes.Get().(*Node)
	n.msg = msg
	return n
}

// unwrap returns a foreign node's message and gives the node back.
func unwrap(n *Node) any {
	msg := n.msg
	n.msg = nil
	if !steps.Simulated { // whether a push has to be retried hangs on addresses, and those on the pool
		foreignNodes.Put(n)
	}
	return msg
}
