package allocator_test

// The part of the model that judges policy Refuse. Sizes are whole pages there, and
// each page is a handle of its own, so no byte is slack: reserved is active and
// cache. What one stream has cached serves the others' mallocs too. A malloc is two
// steps, since one that is under way can hold memory that nobody else may have; so is
// the accounting part of a free, whose bytes may stop being active a moment before
// they are to be had.

// refusing is step for the halves of operations.
func (s *modelState) refusing(o op, outcome any) (bool, any) {
	r := &s.streams[o.slot]
	switch o.kind {
	case 'M':
		s.fly(o)
	case 'N':
		f := &s.flights[o.player]
		if f.n == 0 || f.decided {
			return false, *s
		}
		if f.decided = outcome == refused; !f.decided {
			was := *f
			*f = flight{}
			if outcome == closed {
				return !r.open, *s
			}
			s.malloced(o)
			return r.open && (was.room || s.live().active <= s.top), *s
		}
		return f.open && (!f.hit || f.beside) && s.held() > s.limit, *s
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
		if n == 0 {
			return false, *s
		}
		if r.open && !s.sweeps() {
			s.sure += n
		}
	case 'l':
		previous := s.limit
		if s.limit = o.n; o.n < s.top {
			s.sweeping[o.player] = true
			s.sure = 0
		}
		s.grant()
		return outcome == previous, *s
	case 'L':
		s.sweeping[o.player] = false
	}
	s.grant()
	return true, *s
}

// fly is a malloc's first half. One that is not served from what is cached takes
// what it finds there. What several streams have cached is not had at one instant: of
// two that are under way each may hold a part of what the other needs.
func (s *modelState) fly(o op) {
	f := flight{n: o.n, open: s.streams[o.slot].open, hit: o.n <= s.sure}
	if s.sure -= o.n; !f.hit {
		f.sweeping = true
		s.sure = 0
	}
	for i := range s.flights {
		if other := &s.flights[i]; other.n > 0 && !other.decided {
			other.beside, f.beside = true, true
		}
	}
	s.flights[o.player] = f
}

// grant looks which mallocs under way the limit has room for now: these may take
// memory from the device.
func (s *modelState) grant() {
	for i := range s.flights {
		f := &s.flights[i]
		if f.n > 0 && !f.decided && s.live().active+f.n <= s.limit {
			f.room = true
			s.top = max(s.top, min(s.limit, s.held()))
		}
	}
}

// held is what can't be had now: active, and what operations under way may hold.
func (s *modelState) held() int64 {
	n := s.live().active
	for i := range players {
		n += s.flights[i].n + s.freeing[i]
	}
	return n
}

// sweeps: caches may be on their way, back or to another stream.
func (s *modelState) sweeps() bool {
	for i := range players {
		if s.sweeping[i] || s.flights[i].sweeping {
			return true
		}
	}
	return false
}
