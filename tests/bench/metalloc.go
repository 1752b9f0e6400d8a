package bench

import (
	"context"
	"errors"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry"
)

// metalloc is used as a program does: Malloc with a ctx that can be cancelled,
// and Free.
type metalloc struct {
	ctx     context.Context
	cancel  context.CancelFunc
	device  *sim.Device
	runtime *allocator.Runtime
	streams []*allocator.Stream
}

func openMetalloc(e *env) (Allocator[allocator.Buffer], error) {
	dev, err := sim.New(sim.Config{Memory: deviceMemory})
	if err != nil {
		return nil, err
	}
	dev.Hook(e.hook)
	rt, err := allocator.Open(dev, allocator.WithActorSystem(e.system))
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	m := &metalloc{device: dev, runtime: rt}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for range e.streams {
		s, err := rt.NewStream()
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		m.streams = append(m.streams, s)
	}
	return m, nil
}

func (m *metalloc) Malloc(stream int, size int64) (allocator.Buffer, error) {
	return m.streams[stream].Malloc(m.ctx, size)
}

func (m *metalloc) Free(b allocator.Buffer) error { return b.Free() }
func (m *metalloc) Active() int64                 { return m.runtime.ActiveMemory() }
func (m *metalloc) Peak() int64                   { return m.runtime.PeakMemory() }
func (m *metalloc) Cache() int64                  { return m.runtime.CacheMemory() }
func (m *metalloc) ResetPeak()                    { m.runtime.ResetPeakMemory() }
func (m *metalloc) Snapshot() telemetry.Snapshot  { return m.runtime.Snapshot() }

func (m *metalloc) Close() error {
	m.cancel()
	return errors.Join(m.runtime.Close(context.Background()), m.device.Close())
}
