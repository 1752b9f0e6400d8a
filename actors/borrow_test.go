package actors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/metal/sim"
)

// A device that gives whole segments: what others have free can't move.
func TestSegmentsAreNotBorrowed(t *testing.T) {
	dev, err := sim.NewSegments(sim.Config{})
	require.NoError(t, err)
	c := start(t, dev, defaults())
	a, b := newStream(t, c, actors.StreamConfig{}), newStream(t, c, actors.StreamConfig{})
	require.NoError(t, malloc(t, a, 30<<20).Free())
	x := malloc(t, b, 30<<20)
	require.EqualValues(t, 30<<20, a.CacheMemory())
	require.NoError(t, x.Free())
	require.EqualValues(t, 60<<20, c.ReservedMemory())
	identity(t, c)
}
