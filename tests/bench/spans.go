package bench

import (
	"context"
	"errors"

	"github.com/metalloc/metalloc/telemetry"
)

// spanner is metalloc: no rival can tell the peak within a part of a program.
type spanner interface {
	Measure(ctx context.Context, name string, f func(context.Context) error) (telemetry.Span, error)
}

func (m *metalloc) Measure(ctx context.Context, name string, f func(context.Context) error) (telemetry.Span, error) {
	return m.runtime.Measure(ctx, name, f)
}

// inSpans runs f while that many spans are open, one within the other: as many
// peaks are followed at a time as if they were goroutines' own.
func (s *on[H]) inSpans(ctx context.Context, spans int, f func() error) error {
	if spans == 0 {
		return f()
	}
	a, ok := s.a.(spanner)
	if !ok {
		return errors.New("bench: measures no spans")
	}
	_, err := a.Measure(ctx, "bench", func(ctx context.Context) error { return s.inSpans(ctx, spans-1, f) })
	return err
}
