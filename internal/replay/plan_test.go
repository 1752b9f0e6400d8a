package replay

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/telemetry/torch"
)

const mib = 1 << 20

// story makes a history of events given in short; see its methods.
type story struct{ torch.History }

func newStory(streams ...uint64) *story {
	return &story{torch.History{Streams: streams}}
}

func (s *story) add(e torch.Event) *story {
	s.Events = append(s.Events, e)
	return s
}

// alloc allocates the next block on a stream, given by its index.
func (s *story) alloc(stream int32, size int64) *story {
	s.Mallocs++
	return s.add(torch.Event{Action: torch.Alloc, Block: int32(s.Mallocs - 1), Stream: stream, Size: size})
}

func (s *story) requested(block int32) *story {
	s.Frees++
	return s.add(torch.Event{Action: torch.FreeRequested, Block: block})
}

func (s *story) completed(block int32) *story {
	return s.add(torch.Event{Action: torch.FreeCompleted, Block: block})
}

func (s *story) free(block int32) *story { return s.requested(block).completed(block) }

// foreign is a free of a block that is not in the history.
func (s *story) foreign() *story {
	s.Skipped++
	return s.add(torch.Event{Action: torch.FreeRequested, Block: -1})
}

func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		story   *story
		ops     []op
		sides   int
		pending int64
	}{
		"empty": {story: newStory()},
		"free completed at once": {
			story: newStory(0, 7).alloc(1, 100).free(0),
			ops:   []op{{kind: malloc, size: 100, stream: 1}, {kind: free}},
		},
		"freed without a malloc, and never freed": {
			story: newStory(0).foreign().alloc(0, 100),
			ops:   []op{{kind: malloc, size: 100}},
		},
		"completed after another event": {
			story: newStory(0).alloc(0, 1).requested(0).alloc(0, 2).completed(0).free(1),
			ops: []op{
				{kind: malloc, size: 1},
				{kind: freeUsed},
				{kind: malloc, block: 1, size: 2},
				{kind: complete},
				{kind: free, block: 1},
			},
			sides: 1,
		},
		"even one that is nothing to replay": {
			story: newStory(0).alloc(0, 1).requested(0).foreign().completed(0),
			ops:   []op{{kind: malloc, size: 1}, {kind: freeUsed}, {kind: complete}},
			sides: 1,
		},
		"two late frees at a time, then one": {
			story: newStory(0).alloc(0, 1).alloc(0, 2).alloc(0, 3).
				requested(0).requested(1).completed(0).requested(2).completed(1).completed(2),
			ops: []op{
				{kind: malloc, size: 1},
				{kind: malloc, block: 1, size: 2},
				{kind: malloc, block: 2, size: 3},
				{kind: freeUsed, stream: 0},
				{kind: freeUsed, block: 1, stream: 1},
				{kind: complete, stream: 0},
				{kind: freeUsed, block: 2, stream: 0}, // the first side stream again
				{kind: complete, stream: 1},
				{kind: complete, stream: 0},
			},
			sides: 2,
		},
		"never completed": {
			story:   newStory(0).alloc(0, 1).requested(0),
			ops:     []op{{kind: malloc, size: 1}, {kind: freeUsed}},
			sides:   1,
			pending: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlan(&c.story.History)
			require.Equal(t, append([]op{}, c.ops...), p.ops)
			require.Equal(t, c.sides, p.sides)
			require.Equal(t, c.pending, p.pending)
		})
	}
}
