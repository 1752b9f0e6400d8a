// Package leaktest fails a test that leaves buffers live, and names where each
// was asked for.
//
//	func TestServe(t *testing.T) {
//		leaktest.Check(t, rt) // before the mallocs: from here on call sites are noted
//		…
//	}
//
// Freed memory that queued work still uses is waited for, not reported. Tests
// that share a runtime and run in parallel use a [Scope] each, which looks at the
// streams opened through it alone.
package leaktest

import (
	"context"
	"time"

	"github.com/metalloc/metalloc/allocator"
)

// TestingT is what leaktest needs of a *testing.T or *testing.B.
type TestingT interface {
	Helper()
	Errorf(format string, args ...any)
	Cleanup(f func())
}

// Option changes what counts as a leak.
type Option func(*config)

type config struct {
	ignore  []func(allocator.LiveBuffer) bool
	timeout time.Duration
}

// IgnoreStream leaves out buffers of streams with that name.
func IgnoreStream(name string) Option {
	return ignore(func(b allocator.LiveBuffer) bool { return b.Stream == name })
}

// IgnoreTag leaves out buffers of streams with that tag.
func IgnoreTag(tag string) Option {
	return ignore(func(b allocator.LiveBuffer) bool { return b.Tag == tag })
}

// IgnoreFunction leaves out buffers that were asked for by that function, or by
// anything it called: a name as in a stack trace, such as "example.com/model.Load".
func IgnoreFunction(name string) Option {
	return ignore(func(b allocator.LiveBuffer) bool { return calledBy(b.Site, name) })
}

func ignore(f func(allocator.LiveBuffer) bool) Option {
	return func(c *config) { c.ignore = append(c.ignore, f) }
}

// WithTimeout bounds how long the check waits for queued work that still uses
// freed memory. The default is 10 s; then that is reported instead.
func WithTimeout(d time.Duration) Option { return func(c *config) { c.timeout = d } }

// Check fails t, when it ends, if buffers of rt are live that were not live now.
// From now on until then rt notes call sites, which slows its mallocs. rt may be
// closed by then.
func Check(t TestingT, rt *allocator.Runtime, opts ...Option) {
	t.Helper()
	check(t, rt, opts, rt.Settle, func(allocator.LiveBuffer) bool { return true })
}

// check looks at the buffers that are ours; settle waits for our pending frees.
func check(t TestingT, rt *allocator.Runtime, opts []Option,
	settle func(context.Context) error, ours func(allocator.LiveBuffer) bool,
) {
	t.Helper()
	c := config{timeout: 10 * time.Second}
	for _, o := range opts {
		o(&c)
	}
	before := map[key]bool{}
	for _, b := range rt.LiveBuffers() {
		before[keyOf(b)] = true
	}
	stop := rt.TrackCallSites()
	t.Cleanup(func() {
		t.Helper()
		defer stop()
		ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
		defer cancel()
		if err := settle(ctx); err != nil {
			t.Errorf("leaktest: after %v: %v", c.timeout, err)
		}
		var left []allocator.LiveBuffer
		for _, b := range rt.LiveBuffers() {
			if !before[keyOf(b)] && ours(b) && !c.ignores(b) {
				left = append(left, b)
			}
		}
		if len(left) > 0 {
			t.Errorf("%s", report(left))
		}
	})
}

func (c *config) ignores(b allocator.LiveBuffer) bool {
	for _, f := range c.ignore {
		if f(b) {
			return true
		}
	}
	return false
}

// key tells a buffer from all others.
type key struct {
	stream, generation uint64
	addr               uintptr
}

func keyOf(b allocator.LiveBuffer) key { return key{b.StreamID, b.Generation, b.Addr} }
