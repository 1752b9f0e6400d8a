package bench

import (
	"errors"
	"sync"
)

// mutex is MLX's rule as MLX has it: behind one lock, which is let go of for
// device calls.
type mutex struct {
	device *device
	mu     sync.Mutex
	rule   *mlx
}

func openMutex(e *env) (Allocator[*Block], error) {
	dev, err := newDevice(e.hook)
	if err != nil {
		return nil, err
	}
	return &mutex{device: dev, rule: newMLX(dev.sim.Info(), e.live, dev.release)}, nil
}

func (m *mutex) Malloc(_ int, size int64) (*Block, error) {
	size, err := roundMLX(size)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	b, err := m.rule.take(size)
	m.mu.Unlock()
	if b != nil || err != nil {
		return b, err
	}
	b, err = m.device.alloc(size)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.rule.commit(b)
	m.mu.Unlock()
	return b, nil
}

func (m *mutex) Free(b *Block) error {
	m.mu.Lock()
	full, err := m.rule.give(b)
	m.mu.Unlock()
	if full {
		m.device.release(b)
	}
	return err
}

func (m *mutex) Active() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rule.active
}

func (m *mutex) Peak() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rule.peak
}

func (m *mutex) Cache() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rule.cache
}

func (m *mutex) ResetPeak() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rule.peak = 0
}

func (m *mutex) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.rule.clear(), m.device.sim.Close())
}
