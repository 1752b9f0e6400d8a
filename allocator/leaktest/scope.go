package leaktest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/metalloc/metalloc/allocator"
)

// Scope is one test's part of a runtime that it shares with others: the streams
// opened through it. It may be used from any goroutine.
type Scope struct {
	rt      *allocator.Runtime
	mu      sync.Mutex
	streams map[uint64]*allocator.Stream
}

// NewScope is Check for the streams opened through the scope. When the test ends
// they are closed as well.
func NewScope(t TestingT, rt *allocator.Runtime, opts ...Option) *Scope {
	t.Helper()
	s := &Scope{rt: rt, streams: map[uint64]*allocator.Stream{}}
	t.Cleanup(func() { // after the check: cleanups run last in, first out
		t.Helper()
		for _, stream := range s.all() {
			if err := stream.Close(context.Background()); err != nil {
				t.Errorf("leaktest: %v", err)
			}
		}
	})
	check(t, rt, opts, s.settle, func(b allocator.LiveBuffer) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.streams[b.StreamID] != nil
	})
	return s
}

// settle waits for the scope's streams alone: the others' work may never end.
func (s *Scope) settle(ctx context.Context) error {
	for _, stream := range s.all() {
		if err := stream.Settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scope) all() []*allocator.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.streams))
}

// NewStream opens a stream that belongs to the scope.
func (s *Scope) NewStream(opts ...allocator.StreamOption) (*allocator.Stream, error) {
	stream, err := s.rt.NewStream(opts...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.streams[stream.ID()] = stream
	s.mu.Unlock()
	return stream, nil
}
