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

// on makes the last event name another stream than its block's.
func (s *story) on(stream int32) *story {
	s.Events[len(s.Events)-1].Stream = stream
	return s
}

func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		story   *story
		ops     []op
		sides   int
		pending int64
		late    map[int32]int32
	}{
		"empty": {story: newStory()},
		"free completed at once": {
			story: newStory(0, 7).alloc(1, 100).free(0),
			ops:   []op{{kind: malloc, size: 100, stream: 1}, {kind: free, size: 100, stream: 1, event: 1}},
		},
		"freed without a malloc, and never freed": {
			story: newStory(0).foreign().alloc(0, 100),
			ops:   []op{{kind: malloc, size: 100, event: 1}},
		},
		"completed after another event": {
			story: newStory(0).alloc(0, 1).requested(0).alloc(0, 2).completed(0).free(1),
			ops: []op{
				{kind: malloc, size: 1},
				{kind: freeUsed, size: 1, event: 1},
				{kind: malloc, block: 1, size: 2, event: 2},
				{kind: complete, size: 1, event: 3},
				{kind: free, block: 1, size: 2, event: 4},
			},
			sides: 1,
			late:  map[int32]int32{0: 3},
		},
		"even one that is nothing to replay": {
			story: newStory(0).alloc(0, 1).requested(0).foreign().completed(0),
			ops:   []op{{kind: malloc, size: 1}, {kind: freeUsed, size: 1, event: 1}, {kind: complete, size: 1, event: 3}},
			sides: 1,
			late:  map[int32]int32{0: 3},
		},
		"two late frees at a time, then one": {
			story: newStory(0).alloc(0, 1).alloc(0, 2).alloc(0, 3).
				requested(0).requested(1).completed(0).requested(2).completed(1).completed(2),
			ops: []op{
				{kind: malloc, size: 1},
				{kind: malloc, block: 1, size: 2, event: 1},
				{kind: malloc, block: 2, size: 3, event: 2},
				{kind: freeUsed, size: 1, event: 3},
				{kind: freeUsed, block: 1, size: 2, side: 1, event: 4},
				{kind: complete, size: 1, event: 5},
				{kind: freeUsed, block: 2, size: 3, event: 6}, // the first side stream again
				{kind: complete, block: 1, size: 2, side: 1, event: 7},
				{kind: complete, block: 2, size: 3, event: 8},
			},
			sides: 2,
			late:  map[int32]int32{0: 5, 1: 7, 2: 8},
		},
		"streams share no side streams": {
			story: newStory(0, 7).alloc(0, 1).alloc(1, 2).requested(0).foreign().completed(0).requested(1).foreign().completed(1),
			ops: []op{
				{kind: malloc, size: 1},
				{kind: malloc, block: 1, size: 2, stream: 1, event: 1},
				{kind: freeUsed, size: 1, event: 2},
				{kind: complete, size: 1, event: 4},
				{kind: freeUsed, block: 1, size: 2, stream: 1, side: 1, event: 5},
				{kind: complete, block: 1, size: 2, stream: 1, side: 1, event: 7},
			},
			sides: 2,
			late:  map[int32]int32{0: 4, 1: 7},
		},
		"never completed": {
			story:   newStory(0).alloc(0, 1).requested(0),
			ops:     []op{{kind: malloc, size: 1}, {kind: freeUsed, size: 1, event: 1}},
			sides:   1,
			pending: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlan(&c.story.History)
			require.Equal(t, append([]op{}, c.ops...), p.ops)
			require.Equal(t, c.sides, p.sides)
			require.Equal(t, c.pending, p.pending)
			if c.late == nil {
				c.late = map[int32]int32{}
			}
			require.Equal(t, c.late, p.late)
		})
	}
}
