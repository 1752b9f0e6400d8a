package turn

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/internal/seam"
	"github.com/metalloc/metalloc/internal/seam/simseam"
)

// goCounter counts the goroutines that are started.
type goCounter struct {
	seam.Seam
	n int
}

func (g *goCounter) Go(f func()) { g.n++; g.Seam.Go(f) }

// simulated runs main as a goroutine of a simulation, under many seeds.
func simulated(t *testing.T, main func(t *testing.T, s *goCounter)) {
	for seed := *firstSeed; seed < *firstSeed+100; seed++ {
		sim := simseam.New(seed)
		sim.Go(func() { main(t, &goCounter{Seam: sim}) })
		require.NoError(t, sim.Run())
		require.False(t, t.Failed(), "seed %d", seed)
	}
}

// parked waits until no worker of d is busy and returns how many are left.
func parked(d *Dispatcher) int {
	for {
		d.mu.Lock()
		idle, workers := len(d.idle), d.workers
		d.mu.Unlock()
		if idle == workers {
			return idle
		}
		d.seam.Yield()
	}
}

func TestDispatcherReusesGoroutines(t *testing.T) {
	simulated(t, func(t *testing.T, s *goCounter) {
		d := NewDispatcher(s, 7, 2)
		require.Equal(t, 7, d.Throughput())
		done := s.NewGate()
		for range 10 {
			d.Schedule(done.Open)
			done.Wait()
			require.Equal(t, 1, parked(d))
		}
		require.Equal(t, 1, s.n)

		hold := []seam.Gate{s.NewGate(), s.NewGate(), s.NewGate()}
		for _, g := range hold {
			d.Schedule(func() { g.Wait(); done.Open() })
		}
		require.Equal(t, 3, s.n, "each busy mailbox has a goroutine")
		for _, g := range hold {
			g.Open()
			done.Wait()
		}
		require.Equal(t, 2, parked(d), "maxIdle")
		d.Close()
		require.Zero(t, d.workers)
	})
}

func TestDispatcherClose(t *testing.T) {
	simulated(t, func(t *testing.T, s *goCounter) {
		d := NewDispatcher(s, 1, 1)
		ran := 0
		busy, closed := s.NewGate(), s.NewGate()
		d.Schedule(func() { ran++ })
		d.Schedule(func() { busy.Wait(); ran++ })
		d.Schedule(func() { ran++; runtime.Goexit() })
		for range 2 {
			s.Go(func() {
				d.Close()
				require.Zero(t, d.workers)
				require.GreaterOrEqual(t, ran, 3)
				closed.Open()
			})
		}
		s.Yield()
		busy.Open()
		again := s.NewGate()
		d.Schedule(func() { ran++; again.Open() }) // before or after Close
		again.Wait()
		closed.Wait()
		d.Close() // a third time
		d.Schedule(func() { ran++; again.Open() })
		again.Wait()
		require.Equal(t, 5, ran)
	})
}

func TestDispatcherCloseUnused(*testing.T) {
	d := NewDispatcher(seam.Real, 1, 1)
	d.Close()
	d.Close()
}

// What the package comment of simseam promises: a pool that wasn't closed is
// found, and named.
func TestUnclosedDispatcherIsADeadlock(t *testing.T) {
	sim := simseam.New(*firstSeed)
	d := NewDispatcher(sim, 1, 1)
	sim.Go(func() { d.Schedule(func() {}) })
	err := sim.Run()
	require.ErrorIs(t, err, simseam.ErrDeadlock)
	require.ErrorContains(t, err, "1 waiting:")
	require.ErrorContains(t, err, "waits in turn.(*Dispatcher).work (dispatcher.go:")
}
