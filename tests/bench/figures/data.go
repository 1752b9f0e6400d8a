package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/tests/bench"
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
		present(readJSON(at("bench.json"), &d.bench)),
		present(readLines(at("replay.json"), &d.replays)),
		present(readJSON(at("host.json"), &d.host)),
		present(readLines(at("pytorch.jsonl"), &d.pytorch)),
		present(readText(at("profile.txt"), &profile)),
		present(readText(at("machine.txt"), &machine)),
	)
	d.profile, d.machine, d.replays = string(profile), string(machine), medianRuns(d.replays)
	return &d, err
}

// medianRuns keeps, of several replays of a trace on a device, the one in the
// middle.
func medianRuns(runs []replay.Result) (medians []replay.Result) {
	what := func(r replay.Result) [2]string { return [2]string{r.Trace, r.Device} }
	for _, w := range once(runs, what) {
		same := slices.DeleteFunc(slices.Clone(runs), func(r replay.Result) bool { return what(r) != w })
		slices.SortFunc(same, func(a, b replay.Result) int { return cmp.Compare(a.HitsNSPerOp, b.HitsNSPerOp) })
		medians = append(medians, same[(len(same)-1)/2])
	}
	return medians
}

// present passes over files that aren't there.
func present(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func readText(file string, into *[]byte) (err error) {
	*into, err = os.ReadFile(file)
	return err
}

func readJSON[T any](file string, into **T) error {
	var all []T
	if err := readLines(file, &all); err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("%s: want one JSON object, got %d", file, len(all))
	}
	*into = &all[0]
	return nil
}

// readLines reads JSON objects that follow each other.
func readLines[T any](file string, into *[]T) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var t T
		err := d.Decode(&t)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		*into = append(*into, t)
	}
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
	return once(rs, func(r bench.Row) string { return r.Name })
}

func workloads(rs []bench.Row) []string {
	return once(rs, func(r bench.Row) string { return r.Workload })
}

func once[T any, K comparable](ts []T, key func(T) K) (keys []K) {
	for _, t := range ts {
		if k := key(t); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
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

// markdown is a table whose first column is text.
type markdown struct{ strings.Builder }

func newTable(header ...string) *markdown {
	m := new(markdown)
	m.row(header...)
	m.WriteString("|---|" + strings.Repeat("---:|", len(header)-1) + "\n")
	return m
}

func (m *markdown) row(cells ...string) {
	m.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func (m *markdown) done() string { return strings.TrimSuffix(m.String(), "\n") }
