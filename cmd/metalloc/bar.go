package main

import (
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// bar shows progress on a terminal. The zero bar shows nothing.
type bar struct{ *progressbar.ProgressBar }

// newBar gives a bar on stderr; the zero bar if that is no terminal.
func newBar(what string) bar {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return bar{}
	}
	return bar{progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
	)}
}

// update and clear pass over errors: a bar that can't be drawn is no failure.

func (b bar) update(done, total int64) {
	if b.ProgressBar != nil {
		b.ChangeMax64(total)
		_ = b.Set64(done)
	}
}

func (b bar) clear() {
	if b.ProgressBar != nil {
		_ = b.Clear()
	}
}
