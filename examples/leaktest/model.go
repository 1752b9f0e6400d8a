package leaktest

import (
	"context"

	"github.com/metalloc/metalloc/allocator"
)

// Model is a pretended model with a cache of keys and values.
type Model struct {
	stream  *allocator.Stream
	weights allocator.Buffer
	kv      []allocator.Buffer
}

// Load takes the memory for the weights.
func Load(ctx context.Context, s *allocator.Stream) (*Model, error) {
	w, err := s.Malloc(ctx, 4<<20)
	if err != nil {
		return nil, err
	}
	return &Model{stream: s, weights: w}, nil
}

// Step takes one page of keys and values for each token.
func (m *Model) Step(ctx context.Context) error {
	b, err := m.stream.Malloc(ctx, 64<<10)
	if err != nil {
		return err
	}
	m.kv = append(m.kv, b)
	return nil
}

// Unload frees the weights, and forgets the keys and values.
func (m *Model) Unload() error { return m.weights.Free() }
