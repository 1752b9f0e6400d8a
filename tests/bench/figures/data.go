package main

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"

	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/tests/bench"
	"github.com/metalloc/metalloc/tests/internal/page"
)

// data is all that was measured; what wasn't is empty.
type data struct {
	bench   *bench.Report // any machine's
	replays []replay.Result
	profile string
	host    *bench.Report // a GPU machine's
	pytorch []timing
	machine string // the GPU machine
}

// timing is one line of pytorch.jsonl.
type timing struct {
	Name      string  `json:"name"`
	Threads   int     `json:"threads"`
	NSPerPair float64 `json:"ns_per_pair"`
}

func load(folder string) (*data, error) {
	var d data
	at := func(name string) string { return filepath.Join(folder, name) }
	var profile, machine []byte
	err := errors.Join(
		page.Present(page.ReadJSON(at("bench.json"), &d.bench)),
		page.Present(page.ReadLines(at("replay.json"), &d.replays)),
		page.Present(page.ReadJSON(at("host.json"), &d.host)),
		page.Present(page.ReadLines(at("pytorch.jsonl"), &d.pytorch)),
		page.Present(page.ReadText(at("profile.txt"), &profile)),
		page.Present(page.ReadText(at("machine.txt"), &machine)),
	)
	d.profile, d.machine, d.replays = string(profile), string(machine), medianRuns(d.replays)
	return &d, err
}

// medianRuns keeps, of several replays of a trace on a device, the one in the
// middle.
func medianRuns(runs []replay.Result) (medians []replay.Result) {
	what := func(r replay.Result) [2]string { return [2]string{r.Trace, r.Device} }
	for _, w := range page.Once(runs, what) {
		same := slices.DeleteFunc(slices.Clone(runs), func(r replay.Result) bool { return what(r) != w })
		slices.SortFunc(same, func(a, b replay.Result) int { return cmp.Compare(a.HitsNSPerOp, b.HitsNSPerOp) })
		medians = append(medians, same[(len(same)-1)/2])
	}
	return medians
}

// rows are those of a workload, in a report that may be missing.
func rows(r *bench.Report, workload string) (rs []bench.Row) {
	if r == nil {
		return nil
	}
	for _, row := range r.Rows {
		if row.Workload == workload {
			rs = append(rs, row)
		}
	}
	return rs
}

// find is the row of a rival; nil: none.
func find(rs []bench.Row, name string, goroutines int) *bench.Row {
	i := slices.IndexFunc(rs, func(r bench.Row) bool { return r.Name == name && r.Goroutines == goroutines })
	if i < 0 {
		return nil
	}
	return &rs[i]
}

// names are the rivals', in their order, and workloads the workloads', each once.
func names(rs []bench.Row) []string {
	return page.Once(rs, func(r bench.Row) string { return r.Name })
}

func workloads(rs []bench.Row) []string {
	return page.Once(rs, func(r bench.Row) string { return r.Workload })
}

// torchAt is what a rival of pytorch.jsonl took; 0: not measured.
func (d *data) torchAt(name string, threads int) float64 {
	for _, t := range d.pytorch {
		if t.Name == name && t.Threads == threads {
			return t.NSPerPair
		}
	}
	return 0
}
