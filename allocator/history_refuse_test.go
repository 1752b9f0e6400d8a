package allocator_test

// The part of the model that judges policy Refuse. Sizes are whole pages there,
// so no byte is slack: reserved is active and cache. A malloc is two steps, since
// one that is under way can hold memory that nobody else may have; so is the
// accounting part of a free, whose bytes may stop being active a moment before they are to be had.

// refusing is step for the halves of operations.
func (s *modelState) refusing(o op, outcome any) (bool, any) {
	r := &s.streams[o.slot]
	switch o.kind {
	case 'M':
		s.fly(o)
		return true, *s
	case 'N':
		f := &s.flights[o.player]
		if f.n == 0 || f.decided {
			return false, *s
		}
		if f.decided = outcome == refused; !f.decided {
			was := *f
			*f = flight{}
			cached := r.live.active+o.n <= r.top
			if outcome == closed {
				return !r.open, *s
			}
			s.malloced(o)
			return r.open && (was.room || cached), *s
		}
		return f.open && !f.hit && s.held() > s.limit, *s
	case 'O':
		f := &s.flights[o.player]
		ok := f.decided
		*f = flight{}
		return ok, *s
	case 'F':
		if !s.claimed[o.buf] || s.bufs[o.buf] == 0 {
			return false, *s
		}
		s.freeing[o.player] = s.bufs[o.buf]
		s.freed(o)
	case 'G':
		n := s.freeing[o.player]
		s.freeing[o.player] = 0
		if r.open && !s.sweeps() {
			r.sure += n
		}
		return n > 0, *s
	case 'l':
		previous := s.limit
		if s.limit = o.n; o.n < s.most() {
			s.sweeping[o.player] = true
			s.forget()
		}
		return outcome == previous, *s
	case 'L':
		s.sweeping[o.player] = false
	}
	return true, *s
}

// fly is a malloc's first half.
func (s *modelState) fly(o op) {
	r := &s.streams[o.slot]
	f := flight{n: o.n, slot: o.slot, open: r.open, hit: o.n <= r.sure, room: s.live().active+o.n <= s.limit}
	if !f.hit && (s.sweeps() || s.most()+o.n > s.limit) {
		f.sweeping = true
		s.forget()
	}
	r.sure = max(0, r.sure-o.n)
	s.flights[o.player] = f
	got := r.live.active
	for _, f := range s.flights {
		if f.slot == o.slot {
			got += f.n
		}
	}
	r.top = max(r.top, got)
}

// held is what can't be had now: active, and what operations under way may hold.
func (s *modelState) held() int64 {
	n := s.live().active
	for i := range players {
		n += s.flights[i].n + s.freeing[i]
	}
	return n
}

// most bounds reserved from above.
func (s *modelState) most() (n int64) {
	for i := range s.streams {
		n += s.streams[i].top
	}
	for _, f := range s.flights {
		n += f.n
	}
	return n
}

// sweeps: caches may be on their way back.
func (s *modelState) sweeps() bool {
	for i := range players {
		if s.sweeping[i] || s.flights[i].sweeping {
			return true
		}
	}
	return false
}

func (s *modelState) forget() {
	for i := range s.streams {
		s.streams[i].sure = 0
	}
}
