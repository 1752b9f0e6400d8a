package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/metalloc/metalloc/internal/inspect"
	"github.com/metalloc/metalloc/telemetry/torch"
)

const (
	defaultWidth = 80  // columns, where stdout is no terminal
	minWidth     = 60  // what the tables need, nearly
	maxWidth     = 160 // wider charts say no more
	jsonPoints   = 100 // steps of over_time in JSON
)

func newInspect() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a recorded PyTorch memory history holds",
		Long: `Show what the allocation history in FILE, a snapshot that PyTorch's
torch.cuda.memory._dump_snapshot() wrote (plain or gzipped), holds: streams,
sizes, lifetimes, what was never freed, and memory over time. Nothing is played.`,
		Example: `  metalloc inspect tests/testdata/traces/serve-4streams.pickle.gz`,
		Args:    oneFile("inspect"),
		RunE: func(_ *cobra.Command, args []string) error {
			history, err := readHistory(args[0])
			if err != nil {
				return err
			}
			width := stdoutWidth()
			points := chartPoints(width)
			if asJSON {
				points = jsonPoints
			}
			s := inspect.Summarize(history, points)
			s.Trace = torch.TraceName(args[0])
			if asJSON {
				return printJSON(s)
			}
			_, err = os.Stdout.WriteString(renderSummary(s, width))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object; bytes and microseconds")
	return cmd
}

// readHistory reads a snapshot, with a bar on the terminal.
func readHistory(path string) (*torch.History, error) {
	bar := newBar("reading " + filepath.Base(path))
	defer bar.clear()
	return torch.ReadFile(path, bar.update)
}

// stdoutWidth is how many columns a line may have.
func stdoutWidth() int {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return defaultWidth
	}
	return min(max(width, minWidth), maxWidth)
}
