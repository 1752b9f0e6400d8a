package streams

import "github.com/metalloc/metalloc/metal"

// fakeDevice gives a heap whatever it misses. Address ranges that were given
// back it uses again.
type fakeDevice struct {
	heap   *Heap
	next   uintptr
	handle metal.Handle
	ranges []metal.Range
}

func newFake(pageSize int64) *fakeDevice {
	return &fakeDevice{heap: New(Config{PageSize: pageSize}), next: 1 << 30}
}

func (d *fakeDevice) malloc(size int64) *Block {
	if b := d.heap.Malloc(size, size); b != nil {
		return b
	}
	return d.commit(d.heap.Plan(size, size))
}

func (d *fakeDevice) commit(p *Plan) *Block {
	var rng metal.Range
	if n := p.Reserve + p.Segment; n > 0 {
		rng = d.reserve(n)
	}
	pages := []Page{{Size: p.Segment}}
	if d.heap.cfg.PageSize > 0 {
		pages, _ = Fill(p.Spans(rng), nil, d.heap.cfg.PageSize)
	}
	for i := range pages {
		d.handle++
		pages[i].Handle = d.handle
	}
	return p.Commit(rng, pages)
}

func (d *fakeDevice) reserve(size int64) metal.Range {
	for i, r := range d.ranges {
		if r.Size == size {
			d.ranges = append(d.ranges[:i], d.ranges[i+1:]...)
			return r
		}
	}
	r := metal.Range{Addr: d.next, Size: size}
	d.next += uintptr(size)
	return r
}

// clear has the heap give everything back that it can.
func (d *fakeDevice) clear() {
	d.heap.Pass(d.heap.Clock())
	for _, run := range d.heap.Clear() {
		if d.heap.cfg.PageSize == 0 {
			d.ranges = append(d.ranges, run.Range)
		}
	}
	d.ranges = append(d.ranges, d.heap.TakeRanges()...)
}
