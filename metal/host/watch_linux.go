package host

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalloc/metalloc/metal"
)

// watchers are those of a device. The zero value has none.
type watchers struct {
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

// WatchPressure implements [metal.Pressurer] by the kernel's pressure stall
// information and the control group's memory.events, whichever there is. A
// watcher is a goroutine and, as long as it waits, a thread. ErrUnsupported on
// kernels and in sandboxes that have neither file.
func (d *Device) WatchPressure(f func(metal.Level)) (stop func(), err error) {
	return d.watchers.start(f, func() []signal { return openSignals(systemRoot, d.group) })
}

func (ws *watchers) start(f func(metal.Level), open func() []signal) (stop func(), err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return nil, fmt.Errorf("watch pressure: the device is closed: %w", metal.ErrClosed)
	}
	signals := open()
	if len(signals) == 0 {
		return nil, fmt.Errorf("watch pressure: neither memory.pressure, memory.events nor /proc/pressure/memory can be read: %w", metal.ErrUnsupported)
	}
	w, err := newWatcher(f, signals)
	if err != nil {
		return nil, fmt.Errorf("watch pressure: %w", err)
	}
	if ws.all == nil {
		ws.all = map[*watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
	go w.run()
	return func() {
		ws.mu.Lock()
		delete(ws.all, w)
		ws.mu.Unlock()
		w.stop()
	}, nil
}

// close ends all watchers and refuses new ones.
func (ws *watchers) close() {
	ws.mu.Lock()
	all := ws.all
	ws.all, ws.closed = nil, true
	ws.mu.Unlock()
	for w := range all {
		w.stop()
	}
}

// watcher waits for signals on one goroutine and tells f.
type watcher struct {
	f       func(metal.Level)
	signals []signal
	wake    int // an eventfd; written once, by the first stop
	once    sync.Once
	done    chan struct{}
	gauge   gauge

	now  func() time.Duration                     // since some start
	poll func([]unix.PollFd, time.Duration) error // negative: for ever
}

// newWatcher takes the signals over, also when it fails.
func newWatcher(f func(metal.Level), signals []signal) (*watcher, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		for _, s := range signals {
			s.close()
		}
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	start := time.Now()
	return &watcher{
		f: f, signals: signals, wake: wake, done: make(chan struct{}),
		now:  func() time.Duration { return time.Since(start) },
		poll: poll,
	}, nil
}

// poll rounds the timeout up, so that what should be over by then is.
func poll(fds []unix.PollFd, timeout time.Duration) error {
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	if _, err := unix.Poll(fds, ms); err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	return nil
}

// stop may be called many times, and from many goroutines.
func (w *watcher) stop() {
	w.once.Do(func() {
		// A write of 8 bytes to a counter at 0 neither blocks nor fails.
		_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-w.done
		_ = unix.Close(w.wake)
	})
}

func (w *watcher) run() {
	defer func() {
		for _, s := range w.signals {
			s.close()
		}
		close(w.done)
	}()
	for {
		fds := w.fds()
		if err := w.poll(fds, w.timeout()); err != nil || fds[0].Revents != 0 {
			return
		}
		fresh := w.read(fds[1:])
		if l, ok := w.gauge.tell(w.now(), fresh); ok {
			w.f(l)
		}
	}
}

// fds are the wake-up and then one for each signal; poll leaves out those that
// are negative.
func (w *watcher) fds() []unix.PollFd {
	fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}}
	for _, s := range w.signals {
		fds = append(fds, unix.PollFd{Fd: int32(s.fd), Events: s.events})
	}
	return fds
}

func (w *watcher) timeout() time.Duration {
	if slices.ContainsFunc(w.signals, func(s signal) bool { return s.fd < 0 }) {
		return levelRepeat
	}
	return w.gauge.over(w.now())
}

// read asks the signals that have something to say and those that must be asked,
// and lets go of those that are gone. It tells whether there was a sign.
func (w *watcher) read(fds []unix.PollFd) (fresh bool) {
	left := w.signals[:0]
	for i, s := range w.signals {
		if s.fd >= 0 && fds[i].Revents == 0 {
			left = append(left, s)
			continue
		}
		level, err := s.read(fds[i].Revents)
		if err != nil {
			s.close()
			continue
		}
		left = append(left, s)
		if level != metal.Normal {
			w.gauge.sign(level, w.now())
			fresh = true
		}
	}
	w.signals = left
	return fresh
}
