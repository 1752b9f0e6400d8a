package bench

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// recorder keeps how long single operations took. A nil one does nothing: the
// clock is read in a pass of its own.
type recorder struct{ h *hdrhistogram.Histogram }

const longest = int64(time.Minute)

func newRecorder() *recorder { return &recorder{hdrhistogram.New(1, longest, 3)} }

var epoch = time.Now()

func (r *recorder) start() time.Duration {
	if r == nil {
		return 0
	}
	return time.Since(epoch)
}

func (r *recorder) stop(since time.Duration) {
	if r != nil {
		_ = r.h.RecordValue(min(int64(time.Since(epoch)-since), longest)) // within what it can track
	}
}

// percentiles are those of several goroutines together, ns.
func percentiles(rs []*recorder) (p50, p99, p999 int64) {
	all := newRecorder().h
	for _, r := range rs {
		all.Merge(r.h)
	}
	return all.ValueAtQuantile(50), all.ValueAtQuantile(99), all.ValueAtQuantile(99.9)
}

// chunk is what was measured at a stretch.
type chunk struct {
	pairs     int
	wall      time.Duration
	allocated uint64 // heap allocations
}

func (c chunk) ns() float64 { return float64(c.wall.Nanoseconds()) / float64(max(c.pairs, 1)) }

func (c chunk) allocs() float64 { return float64(c.allocated) / float64(max(c.pairs, 1)) }

// measure lets all goroutines of a config loose at once, n pairs each, and waits
// for the last. recs, one for each goroutine, may be nil.
func measure(s subject, goroutines, n int, recs []*recorder) (chunk, error) {
	var (
		wg    sync.WaitGroup
		pairs atomic.Int64
		errs  = make([]error, goroutines)
		start = make(chan struct{})
	)
	for g := range goroutines {
		var r *recorder
		if recs != nil {
			r = recs[g]
		}
		wg.Go(func() {
			<-start
			done, err := s.work(g, n, r)
			pairs.Add(int64(done))
			errs[g] = err
		})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	close(start)
	wg.Wait()
	wall := time.Since(began)
	runtime.ReadMemStats(&after)
	return chunk{int(pairs.Load()), wall, after.Mallocs - before.Mallocs}, errors.Join(errs...)
}

// whileMissing runs f while the subject's stream of misses sits in device calls.
func whileMissing(s subject, device *slow, f func() error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	inCall := make(chan struct{}, 1)
	device.set(func() {
		select {
		case inCall <- struct{}{}:
		default:
		}
		time.Sleep(deviceCall)
	})
	failed := make(chan error, 1)
	go func() { failed <- s.miss(ctx) }()
	select {
	case <-inCall:
	case err := <-failed:
		return err
	}
	err := f()
	cancel()
	err = errors.Join(err, <-failed)
	device.set(nil)
	return err
}
