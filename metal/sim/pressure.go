package sim

import (
	"fmt"
	"slices"
	"sync"

	"github.com/metalloc/metalloc/metal"
)

// pressure is metal.Pressurer moved by hand.
type pressure struct {
	mu       sync.Mutex // held while watchers are called, so that stop waits for them
	watchers []*watcher
	closed   bool
}

type watcher struct {
	f    func(metal.Level)
	last metal.Level
}

// WatchPressure implements [metal.Pressurer].
func (p *pressure) WatchPressure(f func(metal.Level)) (stop func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("watch pressure: the device is closed: %w", metal.ErrClosed)
	}
	w := &watcher{f: f}
	p.watchers = append(p.watchers, w)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.watchers = slices.DeleteFunc(p.watchers, func(other *watcher) bool { return other == w })
	}, nil
}

// SetPressure tells all watchers a level, on the caller's goroutine and in the
// order in which they came, and returns when they know. The same level may be
// told again, as a real device does; Normal to a watcher that knows is not. Who
// starts to watch later is not told.
func (p *pressure) SetPressure(level metal.Level) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watchers {
		if level != metal.Normal || w.last != metal.Normal {
			w.last = level
			w.f(level)
		}
	}
}

func (p *pressure) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers, p.closed = nil, true
}
