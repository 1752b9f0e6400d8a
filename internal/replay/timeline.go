package replay

import (
	"sync"
	"time"

	"github.com/metalloc/metalloc/telemetry"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// timelineSteps is in how many equal steps a timeline sums up a history: each has
// two states at most.
const timelineSteps = 1000

// Timeline is memory over time. Of each of 1000 equal steps it has, each once and
// in their order, the state in which most was reserved and the one in which most
// was active, so that no peak is lost; of steps without an event, none.
type Timeline struct {
	ByTime bool // At is in nanoseconds from the first event; else the file has no times, and At is an event
	States []State
}

// State is what was held after an event; bytes. Requested is counted as in
// [Result].
type State struct {
	At                                        int64
	Requested, Active, Cache, Slack, Reserved int64
}

// sampler fills a timeline. nil: nobody asked for one.
type sampler struct {
	times []time.Duration // by event; nil: there are none
	step  int64           // how long one is

	mu                       sync.Mutex
	into                     *Timeline
	now                      int64 // the latest At
	any                      bool  // the step has states
	mostReserved, mostActive State // of the step
}

func newSampler(into *Timeline, h *torch.History) *sampler {
	if into == nil {
		return nil
	}
	*into = Timeline{}
	s := &sampler{into: into}
	last := int64(len(h.Events))
	if hasTimes(h) {
		s.times, into.ByTime = timesOf(h), true
		last = int64(s.times[len(s.times)-1])
	}
	s.step = last/timelineSteps + 1
	return s
}

// note takes the state after an event. Goroutines may come here out of the
// events' order: time does not step back.
func (s *sampler) note(event int32, requested int64, total telemetry.Figures) {
	at := int64(event)
	if s.times != nil {
		at = int64(s.times[event])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at = max(at, s.now)
	if at/s.step != s.now/s.step {
		s.flush()
	}
	s.now = at
	state := State{at, requested, total.Active, total.Cache, total.Slack, total.Reserved}
	if !s.any || state.Reserved > s.mostReserved.Reserved {
		s.mostReserved = state
	}
	if !s.any || state.Active > s.mostActive.Active {
		s.mostActive = state
	}
	s.any = true
}

// flush ends a step.
func (s *sampler) flush() {
	if !s.any {
		return
	}
	first, second := s.mostReserved, s.mostActive
	if second.At < first.At {
		first, second = second, first
	}
	s.into.States = append(s.into.States, first)
	if second != first {
		s.into.States = append(s.into.States, second)
	}
	s.any = false
}
