// Command figures makes the tables and plots of docs/performance.md from what was
// measured, so that none of its numbers is typed:
//
//	go run ./tests/bench/figures                     all, from docs/figures
//	go run ./tests/bench/figures host.json pytorch.jsonl   metalloc against PyTorch, on stdout
//
// docs/figures holds, where it was measured: bench.json (metalloc bench --json),
// replay.json (metalloc replay --json of each trace, one after the other),
// profile.txt (go tool pprof -top), and from a machine with a GPU what
// tests/bench/host.sh wrote: host.json, pytorch.jsonl, machine.txt. What isn't
// there is said to be not measured. tests/bench/measure.sh makes the first three.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metalloc/metalloc/tests/internal/page"
)

func main() {
	docs := flag.String("docs", "docs", "`folder` of performance.md, figures and img")
	flag.Parse()
	var err error
	switch flag.NArg() {
	case 0:
		err = update(*docs)
	case 2:
		err = compare(flag.Arg(0), flag.Arg(1))
	default:
		err = errors.New("want no arguments, or HOST.json and PYTORCH.jsonl")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func compare(host, pytorch string) error {
	var d data
	if err := errors.Join(page.ReadJSON(host, &d.host), page.ReadLines(pytorch, &d.pytorch)); err != nil {
		return err
	}
	_, err := fmt.Println(hostTable(&d))
	return err
}

// update rewrites the page and its plots.
func update(docs string) error {
	d, err := load(filepath.Join(docs, "figures"))
	if err != nil {
		return err
	}
	return page.Update(docs, "performance.md", tables(d), charts(d))
}
