package bench

import (
	"context"
	"errors"
	"fmt"
)

// subject is one rival, opened for one config.
type subject interface {
	warm() error
	// work does at least n pairs as goroutine g and tells how many it did. All
	// goroutines of a config are given the same n.
	work(g, n int, r *recorder) (int, error)
	// miss takes memory that nobody has freed, until ctx is done.
	miss(ctx context.Context) error
	// inSpans runs f while that many spans are open.
	inSpans(ctx context.Context, spans int, f func() error) error
	close() error
}

// on is a subject: the work of a config on an allocator.
type on[H any] struct {
	config
	a       Allocator[H]
	handed  []chan []H // by goroutine: what the one before malloced
	missed  []H
	blocks  []H // replay's, by block
	present []bool
	held    []H    // live while the pairs run
	rng     uint64 // which of them goes
	at      []int  // across-streams: by goroutine, the next stream
}

func newSubject[H any](c config, a Allocator[H]) *on[H] {
	s := &on[H]{config: c, a: a, rng: 1}
	for g := range c.goroutines {
		s.handed, s.at = append(s.handed, make(chan []H, 1)), append(s.at, g)
	}
	if c.workload == replayed {
		s.blocks, s.present = make([]H, len(c.trace.sizes)), make([]bool, len(c.trace.sizes))
	}
	return s
}

// warm fills the caches, and takes the peak to where pairs don't reach.
func (s *on[H]) warm() error {
	switch s.workload {
	case replayed:
		_, err := s.replay(1, nil)
		return err
	case traceSizes:
		for g := range s.goroutines {
			if _, err := s.sizes(g, len(s.trace.sizes), nil); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.fill(); err != nil {
		return err
	}
	depth := map[string]int{growth: growthDepth, hereThere: 4 * batch}[s.workload]
	held := make([]H, 0, max(depth*s.goroutines, 4*s.goroutines, s.streams))
	for i := range cap(held) {
		h, err := s.a.Malloc(i%s.streams, s.size)
		if err != nil {
			return err
		}
		held = append(held, h)
	}
	if err := s.freeAll(held); err != nil || !s.missing {
		return err
	}
	return s.hold()
}

// hold keeps a block of each stream live: a stream without any has idle memory only,
// and metalloc would give that to the one that misses.
func (s *on[H]) hold() error {
	for i := range s.streams {
		h, err := s.a.Malloc(i, s.size)
		if err != nil {
			return err
		}
		s.held = append(s.held, h)
	}
	return nil
}

func (s *on[H]) freeAll(hs []H) error {
	for _, h := range hs {
		if err := s.a.Free(h); err != nil {
			return err
		}
	}
	return nil
}

func (s *on[H]) work(g, n int, r *recorder) (int, error) {
	switch s.workload {
	case traceSizes:
		return s.sizes(g, n, r)
	case hereThere:
		return s.handOn(g, n, r)
	case query, queryBehindMiss:
		return n, s.withQueries(g, n, r)
	case resetPeak:
		return n, s.withResets(g, n, r)
	case growth:
		return n, s.grow(g, n, r)
	case snapshot:
		return n, s.withSnapshots(g, n, r)
	case liveRandom:
		return n, s.replace(n, r)
	case streamsInTurn:
		return n, s.acrossStreams(g, n, r)
	case replayed:
		return s.replay(n, r)
	}
	return n, s.pairs(g%s.streams, n, r)
}

func (s *on[H]) pairs(stream, n int, r *recorder) error {
	for range n {
		t := r.start()
		h, err := s.a.Malloc(stream, s.size)
		if err != nil {
			return err
		}
		if err := s.a.Free(h); err != nil {
			return err
		}
		r.stop(t)
	}
	return nil
}

func (s *on[H]) withQueries(g, n int, r *recorder) error {
	for n > 0 {
		some := min(n, queryEvery)
		n -= some
		if err := s.pairs(g, some, nil); err != nil {
			return err
		}
		t := r.start()
		if s.a.Active() < 0 {
			return errors.New("bench: active is below 0")
		}
		r.stop(t)
	}
	return nil
}

func (s *on[H]) withResets(g, n int, r *recorder) error {
	for n > 0 {
		some := min(n, resetEvery)
		n -= some
		if err := s.pairs(g, some, r); err != nil {
			return err
		}
		s.a.ResetPeak()
	}
	return nil
}

func (s *on[H]) grow(g, n int, r *recorder) error {
	var held [growthDepth]H
	for n > 0 {
		some := held[:min(n, growthDepth)]
		n -= len(some)
		s.a.ResetPeak()
		for i := range some {
			t := r.start()
			h, err := s.a.Malloc(g, s.size)
			if err != nil {
				return err
			}
			r.stop(t)
			some[i] = h
		}
		if err := s.freeAll(some); err != nil {
			return err
		}
	}
	return nil
}

// sizes begins at another place of the trace on each goroutine.
func (s *on[H]) sizes(g, n int, r *recorder) (int, error) {
	var held [window]H
	n = max(n, window)
	at := len(s.trace.sizes) / s.goroutines * g
	for i := range n {
		t := r.start()
		h, err := s.a.Malloc(g, s.trace.sizes[at])
		if err != nil {
			return 0, err
		}
		if i >= window {
			if err := s.a.Free(held[i%window]); err != nil {
				return 0, err
			}
		}
		r.stop(t)
		held[i%window] = h
		if at++; at == len(s.trace.sizes) {
			at = 0
		}
	}
	return n, s.freeAll(held[:])
}

// handOn mallocs a batch, passes it to the next goroutine and frees what the one
// before has passed.
func (s *on[H]) handOn(g, n int, r *recorder) (int, error) {
	mine := make([]H, 0, batch)
	rounds := max(1, (n+batch-1)/batch)
	var failed error // the others go on: they wait for each other's batches
	for range rounds {
		mine = mine[:0]
		for range batch {
			h, err := s.a.Malloc(g, s.size)
			if err != nil {
				failed = err
				break
			}
			mine = append(mine, h)
		}
		s.handed[(g+1)%s.goroutines] <- mine
		mine = <-s.handed[g]
		for _, h := range mine {
			t := r.start()
			failed = errors.Join(failed, s.a.Free(h))
			r.stop(t)
		}
	}
	return rounds * batch, failed
}

// replay plays the trace from its first event, as often as n needs, and frees at
// each end what the program didn't.
func (s *on[H]) replay(n int, r *recorder) (done int, err error) {
	for done < n {
		for _, o := range s.trace.ops {
			t := r.start()
			if o >= 0 {
				s.blocks[o], err = s.a.Malloc(int(s.trace.owner[o]), s.trace.sizes[o])
				s.present[o] = true
			} else {
				err = s.a.Free(s.blocks[^o])
				s.present[^o] = false
			}
			if err != nil {
				return done, fmt.Errorf("bench: replay of %s: %w", s.trace.name, err)
			}
			r.stop(t)
		}
		for b, live := range s.present {
			if live {
				if err := s.a.Free(s.blocks[b]); err != nil {
					return done, err
				}
				s.present[b] = false
			}
		}
		done += len(s.trace.sizes)
	}
	return done, nil
}

// miss uses the stream after the config's last.
func (s *on[H]) miss(ctx context.Context) error {
	for ctx.Err() == nil {
		h, err := s.a.Malloc(s.streams, 2*mib)
		if err != nil {
			return err
		}
		s.missed = append(s.missed, h)
	}
	return nil
}

func (s *on[H]) close() error {
	return errors.Join(s.freeAll(s.missed), s.freeAll(s.held), s.a.Close())
}
