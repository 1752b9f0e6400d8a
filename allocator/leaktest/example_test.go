package leaktest_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/allocator/leaktest"
	"github.com/metalloc/metalloc/metal/sim"
)

// printing stands for a *testing.T.
type printing struct{ fakeT }

func (p *printing) Errorf(format string, args ...any) {
	first, _, _ := strings.Cut(fmt.Sprintf(format, args...), "\n")
	fmt.Println(first)
}

func ExampleCheck() {
	dev, _ := sim.New(sim.Config{})
	rt, _ := allocator.Open(dev)
	t := &printing{} // in a test: its *testing.T
	leaktest.Check(t, rt, leaktest.IgnoreTag("weights"))
	s, _ := rt.NewStream()
	b, _ := s.Malloc(context.Background(), 1000)
	t.end() // the test ends
	fmt.Println(b.Free(), rt.Close(context.Background()))
	// Output:
	// leaktest: 1 buffer still live, 1000 B:
	// <nil> <nil>
}

// Tests in parallel share a runtime and each looks at its own streams.
func ExampleNewScope() {
	dev, _ := sim.New(sim.Config{})
	rt, _ := allocator.Open(dev)
	one, other := &printing{}, &printing{}
	mine, theirs := leaktest.NewScope(one, rt), leaktest.NewScope(other, rt)
	s, _ := mine.NewStream()
	_, _ = theirs.NewStream()
	b, _ := s.Malloc(context.Background(), 2048)
	other.end() // nothing to say
	one.end()
	fmt.Println(b.Free(), rt.Close(context.Background()))
	// Output:
	// leaktest: 1 buffer still live, 2.0 KiB:
	// <nil> <nil>
}
