package sim

import (
	"fmt"
	"maps"
	"sync"

	"github.com/metalloc/metalloc/metal"
)

// Call names a kind of device call.
type Call string

// The calls that are counted and can be scripted: the methods of metal.Pager,
// metal.Segmenter and metal.Wirer.
const (
	CallReserve   Call = "Reserve"
	CallUnreserve Call = "Unreserve"
	CallCreate    Call = "Create"
	CallRelease   Call = "Release"
	CallMap       Call = "Map"
	CallUnmap     Call = "Unmap"
	CallAlloc     Call = "Alloc"
	CallFree      Call = "Free"
	CallWire      Call = "Wire"
	CallUnwire    Call = "Unwire"
)

// script is the part of a device that a test talks to.
type script struct {
	mu    sync.Mutex
	hook  func(Call)
	calls map[Call]int64
	plans []plan
}

// plan is one call's fate.
type plan struct {
	call Call
	left int   // calls of this kind until then, that one included
	err  error // nil: panic
}

// FailNext makes the n-th call of this kind from now fail with an error that
// wraps err (nil: metal.ErrOutOfMemory) and change nothing. 1 is the next one; n
// below 1 counts as 1. Plans add up.
func (s *script) FailNext(call Call, n int, err error) {
	if err == nil {
		err = metal.ErrOutOfMemory
	}
	s.plan(plan{call, n, fmt.Errorf("sim: scripted failure of %s: %w", call, err)})
}

// PanicNext makes the n-th call of this kind from now panic and change nothing;
// n is counted as in FailNext. The device goes on working.
func (s *script) PanicNext(call Call, n int) { s.plan(plan{call, n, nil}) }

func (s *script) plan(p plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans = append(s.plans, p)
}

// Hook has f called at the start of each call, on the caller's goroutine and
// outside any lock, before a scripted failure; f may block, which makes the call
// slow. nil takes the hook away.
func (s *script) Hook(f func(Call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// Calls returns how often each kind of call was made, those that failed included.
func (s *script) Calls() map[Call]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// enter is the start of each call.
func (s *script) enter(call Call) error {
	hook, due := s.count(call)
	if hook != nil {
		hook(call)
	}
	if due == nil {
		return nil
	}
	if due.err == nil {
		panic(fmt.Sprintf("sim: scripted panic in %s", call))
	}
	return due.err
}

// count counts a call and returns the plan that it meets, if any. Of several the
// first made goes first, and the others are used up.
func (s *script) count(call Call) (hook func(Call), due *plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[call]++
	rest := s.plans[:0]
	for _, p := range s.plans {
		if p.call == call {
			p.left--
		}
		switch {
		case p.call != call || p.left > 0:
			rest = append(rest, p)
		case due == nil:
			due = &p
		}
	}
	s.plans = rest
	return s.hook, due
}
