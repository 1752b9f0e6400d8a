//go:build leak

package leaktest

import (
	"context"
	"testing"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/allocator/leaktest"
	"github.com/metalloc/metalloc/metal/host"
)

func TestModel(t *testing.T) {
	ctx := context.Background()
	dev, err := host.Open()
	if err != nil {
		t.Fatal(err)
	}
	rt, err := allocator.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	leaktest.Check(t, rt) // before the first malloc

	s, err := rt.NewStream(allocator.WithName("decode"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Load(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	for range 16 {
		if err := m.Step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Unload(); err != nil {
		t.Fatal(err)
	}
}
