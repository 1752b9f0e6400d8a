package turn

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/internal/steps"
)

// ping is an op that counts and tells its poster.
type ping struct {
	Node
	n    *int
	done seam.Gate
}

func newPing(n *int) *ping { return &ping{n: n, done: seam.Real.NewGate()} }

func (p *ping) Run()       { *p.n++; p.done.Open() }
func (p *ping) Fail(error) { p.done.Open() }

// idle returns a mailbox whose actor is alive and idle; it and its dispatcher
// are stopped when the test ends.
func idle(tb testing.TB) *Mailbox { return idleWith(tb, nil) }

func idleWith(tb testing.TB, errands func()) *Mailbox {
	d := NewDispatcher(seam.Real, 300, 8)
	m := New(seam.Real, errands)
	pid := system.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {},
		actor.WithMailbox(m.Producer()), actor.WithDispatcher(d)))
	p := newPing(new(int))
	require.NoError(tb, m.Post(p))
	p.done.Wait()
	for !m.TryEnter() {
		seam.Real.Yield()
	}
	m.Exit()
	tb.Cleanup(func() {
		require.NoError(tb, system.Root.PoisonFuture(pid).Wait())
		d.Close()
	})
	return m
}

func TestNothingIsAllocated(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates for channels and goroutines, and makes sync.Pool drop what it holds")
	}
	if steps.Simulated {
		t.Skip("built with simatomics, which doesn't pool")
	}
	errands := 0
	m, n := idleWith(t, func() { errands++ }), 0
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if m.TryEnter() {
			m.Exit()
		}
	}))
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		_ = m.Leave()
		if m.TryEnter() {
			_ = m.Leave()
			m.Exit()
		}
	}))
	require.Equal(t, 2*1001, errands)
	p := newPing(&n)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		_ = m.Post(p)
		p.done.Wait()
	}), "posted to an idle actor")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for !m.Enter() {
			seam.Real.Yield()
		}
		_ = m.Post(p)
		m.Exit()
		p.done.Wait()
	}), "handed over on exit")
	require.Equal(t, 2*1001, n)
	msg := any(&n)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		m.PostUserMessage(msg)
		_ = m.Post(p)
		p.done.Wait()
	}), "a foreign message")
}

// On an idle actor: what an inline turn costs, and the same with a mutex.
func BenchmarkUncontended(b *testing.B) {
	b.Run("TryEnter", func(b *testing.B) {
		m, n := idle(b), 0
		b.ResetTimer()
		for range b.N {
			if m.TryEnter() {
				n++
				m.Exit()
			}
		}
		require.Equal(b, b.N, n)
	})
	b.Run("Enter", func(b *testing.B) {
		m, n := idle(b), 0
		b.ResetTimer()
		for range b.N {
			if m.Enter() {
				n++
				m.Exit()
			}
		}
		require.Equal(b, b.N, n)
	})
	b.Run("mutex", func(b *testing.B) {
		var mu sync.Mutex
		n := 0
		for range b.N {
			mu.Lock()
			n++
			mu.Unlock()
		}
		require.Equal(b, b.N, n)
	})
}

// One actor, several goroutines: enter, or post and wait when that fails.
func BenchmarkShared(b *testing.B) {
	for _, g := range []int{1, 2, 4, 16} {
		b.Run(fmt.Sprintf("turn/g%d", g), func(b *testing.B) {
			m, n := idle(b), 0
			fan(b, g, func(times int) {
				p := newPing(&n)
				for range times {
					if m.Enter() {
						n++
						m.Exit()
					} else if m.Post(p) == nil {
						p.done.Wait()
					}
				}
			})
			require.Equal(b, b.N, n)
		})
		b.Run(fmt.Sprintf("posted/g%d", g), func(b *testing.B) {
			m, n := idle(b), 0
			fan(b, g, func(times int) {
				p := newPing(&n)
				for range times {
					if m.Post(p) == nil {
						p.done.Wait()
					}
				}
			})
			require.Equal(b, b.N, n)
		})
		b.Run(fmt.Sprintf("mutex/g%d", g), func(b *testing.B) {
			var mu sync.Mutex
			n := 0
			fan(b, g, func(times int) {
				for range times {
					mu.Lock()
					n++
					mu.Unlock()
				}
			})
			require.Equal(b, b.N, n)
		})
	}
}

// Leaving something: with an idle actor, with one's own turn, and with an actor
// that another goroutine enters and leaves all the time.
func BenchmarkLeave(b *testing.B) {
	b.Run("idle", func(b *testing.B) {
		n := 0
		m := idleWith(b, func() { n++ })
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			_ = m.Leave()
		}
		require.Equal(b, b.N, n)
	})
	b.Run("inside", func(b *testing.B) {
		n := 0
		m := idleWith(b, func() { n++ })
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if m.TryEnter() {
				_ = m.Leave()
				m.Exit()
			}
		}
		require.Equal(b, b.N, n)
	})
	b.Run("busy", func(b *testing.B) {
		n := 0
		m := idleWith(b, func() { n++ })
		var stop atomic.Bool
		var owner sync.WaitGroup
		owner.Go(func() {
			for !stop.Load() {
				if m.Enter() {
					m.Exit()
				}
			}
		})
		fan(b, 1, func(times int) {
			for range times {
				_ = m.Leave()
			}
		})
		stop.Store(true)
		owner.Wait()
		require.Positive(b, n)
	})
}

// fan spreads b.N calls over g goroutines.
func fan(b *testing.B, g int, body func(times int)) {
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range g {
		wg.Go(func() { body((b.N + i) / g) })
	}
	wg.Wait()
	b.StopTimer()
}
