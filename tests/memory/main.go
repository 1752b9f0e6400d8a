// Command memory makes the tables and plots of docs/memory.md from what was
// measured, so that none of its numbers is typed:
//
//	go run ./tests/memory                  the page and its plots, from docs/figures
//	go run ./tests/memory others TRACE...  what others keep for the recorded histories in
//	                                       these files, as JSON on stdout
//
// docs/figures holds memory.json (metalloc replay --json, one after the other),
// memory-NAME.csv (metalloc replay --timeline of trace NAME) and memory-others.json
// (the second command). What isn't there is said to be not measured.
// tests/memory/measure.sh makes all of them.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/metalloc/metalloc/telemetry/torch"
	"github.com/metalloc/metalloc/tests/internal/page"
)

func main() {
	docs := flag.String("docs", "docs", "`folder` of memory.md, figures and img")
	flag.Parse()
	var err error
	switch {
	case flag.NArg() == 0:
		err = update(*docs)
	case flag.Arg(0) == "others" && flag.NArg() > 1:
		err = others(flag.Args()[1:], os.Stdout, os.Stderr)
	default:
		err = errors.New("want no arguments, or others and the files of traces")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

// update rewrites the page and its plots.
func update(docs string) error {
	d, err := load(filepath.Join(docs, "figures"))
	if err != nil {
		return err
	}
	return page.Update(docs, "memory.md", tables(d), charts(d))
}

// others writes a line for each trace.
func others(traces []string, out, progress io.Writer) error {
	lines := json.NewEncoder(out)
	for i, file := range traces {
		_, _ = fmt.Fprintf(progress, "MLX's rule, and what PyTorch reserved: %s (%d of %d)\n", torch.TraceName(file), i+1, len(traces))
		h, err := torch.ReadFile(file, nil)
		if err != nil {
			return err
		}
		if err := lines.Encode(otherOf(torch.TraceName(file), h)); err != nil {
			return err
		}
	}
	return nil
}
