package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
)

// Idle is what streams cost that are open and nothing else. Only metalloc is
// asked: to its rivals a stream is a number.
type Idle struct {
	Name      string  `json:"name"`
	Streams   int     `json:"streams"`    // open at once
	OpenUS    float64 `json:"open_us"`    // to open one, µs
	CloseUS   float64 `json:"close_us"`   // to close one, with all the runtime, µs
	HeapBytes float64 `json:"heap_bytes"` // of Go's heap and stacks for one, after a collection
}

// idleOpen is how many are opened.
const idleOpen = 10_000

// measureIdle gives medians over rounds, each with a runtime of its own.
func measureIdle(system *actors.System, streams, rounds int) (Idle, error) {
	var opened, closed, bytes []float64
	for range rounds {
		o, c, b, err := idleRound(system, streams)
		if err != nil {
			return Idle{}, fmt.Errorf("%d idle streams: %w", streams, err)
		}
		opened, closed, bytes = append(opened, o), append(closed, c), append(bytes, b)
	}
	return Idle{
		Name: Metalloc, Streams: streams,
		OpenUS: round3(median(opened)), CloseUS: round3(median(closed)), HeapBytes: round3(median(bytes)),
	}, nil
}

// idleRound gives µs to open and to close and bytes, for one stream.
func idleRound(system *actors.System, streams int) (opened, closed, bytes float64, err error) {
	a, err := openMetalloc(&env{system: system})
	if err != nil {
		return 0, 0, 0, err
	}
	m := a.(*metalloc)
	m.streams = make([]*allocator.Stream, 0, streams)
	before := heldMemory()
	began := time.Now()
	for range streams {
		s, e := m.runtime.NewStream()
		if e != nil {
			return 0, 0, 0, errors.Join(e, m.Close())
		}
		m.streams = append(m.streams, s)
	}
	opened = perStream(time.Since(began), streams)
	bytes = float64(heldMemory()-before) / float64(streams)
	if err := m.tryStreams(100); err != nil {
		return 0, 0, 0, errors.Join(err, m.Close())
	}
	began = time.Now()
	err = m.Close()
	return opened, perStream(time.Since(began), streams), bytes, err
}

// tryStreams does a pair on every so-maniest: open must mean usable.
func (m *metalloc) tryStreams(every int) error {
	for i := 0; i < len(m.streams); i += every {
		b, err := m.streams[i].Malloc(context.Background(), mib)
		if err != nil {
			return err
		}
		if err := b.Free(); err != nil {
			return err
		}
	}
	return nil
}

func perStream(d time.Duration, streams int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(streams)
}

// heldMemory is what Go holds for what is reachable. Twice collected: what a pool
// or a finalizer held on to is gone after the second time.
func heldMemory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
