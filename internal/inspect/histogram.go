package inspect

import "math"

// Bin counts what lies from From up to, not including, To. The last possible one
// includes math.MaxInt64.
type Bin struct {
	From  int64 `json:"from"`
	To    int64 `json:"to"`
	Count int64 `json:"count"`
	Bytes int64 `json:"bytes"` // of the blocks counted
}

// histogram has a bin for 0 and one for each power of its base.
type histogram struct{ all []Bin }

func newHistogram(base int64) *histogram {
	h := &histogram{all: []Bin{{From: 0, To: 1}}}
	for from := int64(1); ; from *= base {
		if from > math.MaxInt64/base {
			h.all = append(h.all, Bin{From: from, To: math.MaxInt64})
			return h
		}
		h.all = append(h.all, Bin{From: from, To: from * base})
	}
}

// add counts a value, at least 0, of a block of that size.
func (h *histogram) add(value, size int64) {
	i := 0
	for i < len(h.all)-1 && value >= h.all[i].To {
		i++
	}
	h.all[i].Count++
	h.all[i].Bytes = sum(h.all[i].Bytes, size)
}

// bins are those from the first to the last that counted anything.
func (h *histogram) bins() []Bin {
	first, last := len(h.all), 0
	for i, b := range h.all {
		if b.Count > 0 {
			first, last = min(first, i), i+1
		}
	}
	if first >= last {
		return []Bin{}
	}
	return h.all[first:last]
}
