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
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	if err := errors.Join(readJSON(host, &d.host), readLines(pytorch, &d.pytorch)); err != nil {
		return err
	}
	_, err := fmt.Println(hostTable(&d))
	return err
}

// update rewrites the page and its plots. The page is written last: it must not
// show plots that couldn't be made.
func update(docs string) error {
	d, err := load(filepath.Join(docs, "figures"))
	if err != nil {
		return err
	}
	page := filepath.Join(docs, "performance.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text, err = fill(text, d)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	img := filepath.Join(docs, "img")
	if err := os.MkdirAll(img, 0o755); err != nil {
		return err
	}
	for _, c := range charts(d) {
		if err := os.WriteFile(filepath.Join(img, c.file+".svg"), c.svg(), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(page, text, 0o644)
}

var (
	section = regexp.MustCompile(`(?s)<!-- figures: ([a-z-]+) -->.*?<!-- end -->`)
	opening = []byte("<!-- figures: ")
)

// fill replaces what stands between <!-- figures: NAME --> and <!-- end -->.
func fill(page []byte, d *data) ([]byte, error) {
	var err error
	found := 0
	page = section.ReplaceAllFunc(page, func(part []byte) []byte {
		found++
		name := string(section.FindSubmatch(part)[1])
		table, ok := tables[name]
		if !ok {
			err = errors.Join(err, fmt.Errorf("no figures are called %q", name))
			return part
		}
		return fmt.Appendf(nil, "<!-- figures: %s -->\n\n%s\n\n<!-- end -->", name, table(d))
	})
	if n := bytes.Count(page, opening); err == nil && n != found {
		err = fmt.Errorf("%d of %d figures have no <!-- end -->", n-found, n)
	}
	return page, err
}
