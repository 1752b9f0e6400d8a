package bench

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Scaling is what a loop of compare-and-swaps on private words got through, all
// goroutines together, in times what one got through: median of the whole run.
type Scaling struct {
	Goroutines int     `json:"goroutines"`
	Times      float64 `json:"times"`
}

// control is a loop that shares nothing: what the machine can do.
type control struct {
	word atomic.Uint64
	_    [15]uint64
}

// controlLoops is how many turns take about a fifth of a chunk: longer than waking
// all cores does, which would look like scaling badly.
func controlLoops(chunk time.Duration) int {
	const turn = 5 * time.Nanosecond
	return max(1000, int(chunk/5/turn))
}

// scaling is the throughput of that many goroutines, a loop each, in times that of
// one: 2 for two, if both cores are there.
func scaling(goroutines, loops int) float64 {
	one := controlTime(1, loops)
	return float64(goroutines) * float64(one) / float64(controlTime(goroutines, loops))
}

func controlTime(goroutines, loops int) time.Duration {
	words := make([]control, goroutines)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			<-start
			w := &words[g].word
			for range loops {
				v := w.Load()
				w.CompareAndSwap(v, v+1)
			}
		})
	}
	began := time.Now()
	close(start)
	wg.Wait()
	return time.Since(began)
}

// controlled are the goroutine counts whose scaling a report tells: powers of two
// up to the cores, the cores themselves, and two in any case.
func controlled() (counts []int) {
	cores := runtime.GOMAXPROCS(0)
	for g := 2; g < cores; g *= 2 {
		counts = append(counts, g)
	}
	return append(counts, max(2, cores))
}
