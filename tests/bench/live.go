package bench

import (
	"errors"
	"fmt"

	"github.com/metalloc/metalloc/telemetry"
)

// liveSize is that of the blocks that are live meanwhile, and of the pairs beside
// them: a million fit any device, and to MLX they are whole pages.
const liveSize = 64 << 10

// fill mallocs what is to be live while a config's pairs run.
func (s *on[H]) fill() error {
	s.held = make([]H, 0, s.live)
	for range s.live {
		h, err := s.a.Malloc(0, s.size)
		if err != nil {
			return fmt.Errorf("live block %d: %w", len(s.held), err)
		}
		s.held = append(s.held, h)
	}
	return nil
}

// replace mallocs a block and frees one of the live ones in its stead, each time
// another: a pair after which all are in use as before, but nothing of the freed
// block's is at hand, as it is in pairs of one block.
func (s *on[H]) replace(n int, r *recorder) error {
	for range n {
		s.rng ^= s.rng << 13 // xorshift: no call, no lock
		s.rng ^= s.rng >> 7
		s.rng ^= s.rng << 17
		i := s.rng % uint64(len(s.held))
		t := r.start()
		h, err := s.a.Malloc(0, s.size)
		if err != nil {
			return err
		}
		old := s.held[i]
		s.held[i] = h
		if err := s.a.Free(old); err != nil {
			return err
		}
		r.stop(t)
	}
	return nil
}

// acrossStreams has a goroutine do a pair on each of its streams in turn: those
// that are g modulo the goroutines. It begins where its last chunk ended.
func (s *on[H]) acrossStreams(g, n int, r *recorder) error {
	at := s.at[g]
	for range n {
		if err := s.pairs(at, 1, r); err != nil {
			return err
		}
		if at += s.goroutines; at >= s.streams {
			at = g
		}
	}
	s.at[g] = at
	return nil
}

// snapshotter is metalloc: no rival knows what each stream has.
type snapshotter interface{ Snapshot() telemetry.Snapshot }

func (s *on[H]) withSnapshots(g, n int, r *recorder) error {
	a, ok := s.a.(snapshotter)
	if !ok {
		return errors.New("bench: takes no snapshots")
	}
	for n > 0 {
		some := min(n, snapshotEvery)
		n -= some
		if err := s.pairs(g, some, nil); err != nil {
			return err
		}
		t := r.start()
		snap := a.Snapshot()
		r.stop(t)
		if len(snap.Streams) < s.streams {
			return fmt.Errorf("bench: snapshot of %d streams tells of %d", s.streams, len(snap.Streams))
		}
	}
	return nil
}
