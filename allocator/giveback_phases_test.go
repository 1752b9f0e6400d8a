package allocator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

// A program that needs memory now and then gives it back in vain once, and keeps it
// from then on; if it needs it seldom, it gives it back each time.
func TestPeriodicWorkKeepsItsMemory(t *testing.T) {
	for _, c := range []struct {
		period time.Duration
		grown  int64 // bursts that had to take memory from the device
	}{{500 * time.Millisecond, 1}, {5 * time.Second, 2}, {25 * time.Second, 2}, {10 * time.Minute, 50}} {
		t.Run(c.period.String(), func(t *testing.T) {
			rt, dev, clock := openIdle(t, sim.Config{})
			a, b := newStream(t, rt), newStream(t, rt)
			resident := malloc(t, a, 100*page)
			var grown int64
			for range 50 {
				before := dev.Calls()[sim.CallCreate]
				x, y := malloc(t, a, 20*page), malloc(t, b, 30*page)
				clock.Advance(100 * time.Millisecond)
				free(t, x, y)
				eventually(t, func() bool { return clock.set.Load() == 1 }) // set, maybe only now
				if dev.Calls()[sim.CallCreate] > before {
					grown++
				}
				clock.Advance(c.period - 100*time.Millisecond)
			}
			require.Equal(t, c.grown, grown)
			free(t, resident)
		})
	}
}

// A program that loads and then serves: what only loading needed goes back, although
// serving misses all the time and so takes the longest idle page again and again.
func TestPhases(t *testing.T) {
	for name, sizes := range map[string][]int64{
		"the same sizes": {4 * page},
		"many sizes":     {page / 3, page, 5 * page / 2, 4 * page, 7 * page, 9 * page / 4},
	} {
		t.Run(name, func(t *testing.T) {
			alone := serve(t, 0, sizes)
			after := serve(t, 500*page, sizes)
			t.Logf("reserved %d pages, %d without the first phase", after/page, alone/page)
			require.LessOrEqual(t, float64(after), 1.03*float64(alone))
		})
	}
}

// serve returns what is reserved in the end; before it serves it loads that much.
func serve(t *testing.T, load int64, sizes []int64) (reserved int64) {
	rt, _, clock := openIdle(t, sim.Config{})
	a, b := newStream(t, rt), newStream(t, rt)
	if load > 0 {
		var bufs []allocator.Buffer
		for range 50 {
			bufs = append(bufs, malloc(t, a, load/50))
			clock.Advance(50 * time.Millisecond)
		}
		free(t, bufs...)
	}
	weights := malloc(t, b, 100*page)
	var held []allocator.Buffer
	for i := range 3000 {
		s := a
		if i%3 == 0 {
			s = b
		}
		held = append(held, malloc(t, s, sizes[i*7%len(sizes)]))
		if len(held) > 10 {
			free(t, held[0])
			held = held[1:]
		}
		clock.Advance(10 * time.Millisecond)
	}
	reserved = rt.ReservedMemory()
	identity(t, rt)
	free(t, append(held, weights)...)
	return reserved
}
