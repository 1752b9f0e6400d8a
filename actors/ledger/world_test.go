package ledger

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/metalloc/metalloc/internal/steps"
	"github.com/metalloc/metalloc/streams"
)

var firstSeed = flag.Uint64("seed", 1, "first seed of the random tests")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// account is what a stream would be: a turn, a heap's figures, and blocks that
// others have left.
type testStream struct {
	Row
	l    *Ledger
	turn steps.Mutex
	f    streams.Figures
	// under inbox
	inbox steps.Mutex
	left  []int64
}

// waste is what is rounded away of each block.
const waste = 7

func open(l *Ledger, id uint64, reserved int64) *testStream {
	s := &testStream{l: l}
	l.Open(&s.Row, Owner{ID: id})
	if reserved > 0 {
		s.reserve(reserved)
	}
	return s
}

// reserve brings pages from the device.
func (s *testStream) reserve(n int64) {
	s.l.Arrived(&s.Row, 0, n, n)
	s.turn.Lock()
	s.f.Cache += n
	s.l.Settle(&s.Row, &s.f, Change{FromPool: n, Coming: -n, Misses: 1})
	s.turn.Unlock()
}

// give takes pages back to the device.
func (s *testStream) give(n int64) {
	s.turn.Lock()
	n = min(n, s.f.Cache)
	s.f.Cache -= n
	s.l.Settle(&s.Row, &s.f, Change{FromPool: -n})
	s.turn.Unlock()
	s.l.Left(n)
}

func (s *testStream) malloc(n int64) {
	s.turn.Lock()
	s.f.Active += n
	s.f.Cache -= n
	s.f.Requested += n - waste
	s.Malloc(&s.f, n)
	s.takeUp()
	s.turn.Unlock()
}

func (s *testStream) free(n int64) {
	s.turn.Lock()
	s.freed(n)
	s.Free(&s.f, n)
	s.takeUp()
	s.turn.Unlock()
}

func (s *testStream) freed(n int64) {
	s.f.Active -= n
	s.f.Cache += n
	s.f.Requested -= n - waste
}

// leave frees from elsewhere.
func (s *testStream) leave(n int64) {
	s.Leave(n, n-waste)
	s.inbox.Lock()
	s.left = append(s.left, n)
	s.inbox.Unlock()
}

// takeUp is for the turn's holder.
func (s *testStream) takeUp() {
	s.inbox.Lock()
	left := s.left
	s.left = nil
	s.inbox.Unlock()
	if len(left) == 0 {
		return
	}
	var t Taken
	for _, n := range left {
		s.freed(n)
		t.Blocks++
		t.Bytes += n
		t.Requested += n - waste
	}
	s.TakenUp(&s.f, t)
}

func (s *testStream) close() {
	s.turn.Lock()
	s.l.Close(&s.Row)
	s.turn.Unlock()
}

func flagInt(name string, value int, usage string) *int { return flag.Int(name, value, usage) }
