package replay

import (
	"slices"
	"sync"
	"time"

	"github.com/metalloc/metalloc/telemetry"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// timelineSteps is in how many equal steps a timeline sums up a history. Each has
// two states at most, or three where the next has none: fewer than 2,000 in all.
const timelineSteps = 999

// Timeline is memory over time. Of each of 999 equal steps it has, each once and in
// their order, the state in which most was reserved and the one in which most was
// active, so that no peak is lost; before steps without an event, which have none,
// and at the end, the last state too: it is what holds until then.
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

	mu   sync.Mutex
	into *Timeline
	any  bool // the step has states
	last State

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
	at = max(at, s.last.At)
	if steps := at/s.step - s.last.At/s.step; steps > 0 {
		s.flush(steps > 1)
	}
	state := State{at, requested, total.Active, total.Cache, total.Slack, total.Reserved}
	if !s.any || state.Reserved > s.mostReserved.Reserved {
		s.mostReserved = state
	}
	if !s.any || state.Active > s.mostActive.Active {
		s.mostActive = state
	}
	s.any, s.last = true, state
}

// flush ends a step; lasts: its last state goes on for longer than that.
func (s *sampler) flush(lasts bool) {
	if !s.any {
		return
	}
	states := []State{s.mostReserved, s.mostActive}
	if s.mostActive.At < s.mostReserved.At {
		slices.Reverse(states)
	}
	if lasts {
		states = append(states, s.last)
	}
	s.into.States = append(s.into.States, slices.Compact(states)...)
	s.any = false
}
