package main

import (
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// bar shows progress on a terminal. The zero bar shows nothing.
type bar struct{ *progressbar.ProgressBar }

// newBar gives a bar that shows nothing if w is no terminal.
func newBar(w io.Writer, what string) bar {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return bar{}
	}
	return bar{progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(f),
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
