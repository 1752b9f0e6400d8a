// Command metalloc shows what the metalloc allocator does with real work.
//
//	metalloc replay FILE    plays a recorded PyTorch memory history
//	metalloc inspect FILE   shows what such a history holds
//	metalloc devices        shows where memory can be taken from
//	metalloc bench          measures it and its rivals
//
// Exit codes: 0, 1 for a failure, 2 for a command line that makes no sense. In
// the last two cases one line on stderr says what is wrong, and nothing is
// printed on stdout. When memory did not suffice, indented lines say who holds it.
package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"

	"github.com/spf13/cobra"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	err := newRoot().Execute()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "metalloc:", onOneLine(err.Error()))
	var usage usageError
	if errors.As(err, &usage) {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailure)
}

// onOneLine joins the lines of joined errors; those that say more of one, indented,
// stay.
func onOneLine(text string) string { return newLine.ReplaceAllString(text, "; $1") }

var newLine = regexp.MustCompile(`\n+(\S)`)

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:     "metalloc",
		Short:   "See what the metalloc allocator does with real work",
		Version: version(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q, want replay, inspect, devices or bench", args[0])
			}
			return nil
		},
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newReplay(), newInspect(), newDevices(), newBench())
	return root
}

// version is the module's, as the Go command recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version + " " + info.GoVersion
}
