package simseam

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// depth is how many callers of a wait are named: the innermost ones are often
// helpers, so that the first alone would say little.
const depth = 4

func (s *Sim) deadlock() error {
	var b strings.Builder
	for _, r := range s.routines {
		fmt.Fprintf(&b, "\n  goroutine %d waits in %s", r.id, where(r.stack))
	}
	return fmt.Errorf("%w: %d waiting:%s", ErrDeadlock, len(s.routines), b.String())
}

func where(stack []uintptr) string {
	var calls []string
	frames := runtime.CallersFrames(stack)
	for more := true; more && len(calls) < depth; {
		var f runtime.Frame
		f, more = frames.Next()
		name := f.Function[strings.LastIndexByte(f.Function, '/')+1:]
		if strings.HasPrefix(name, "simseam.(*gate)") || strings.HasPrefix(name, "simseam.(*Sim)") {
			continue
		}
		calls = append(calls, fmt.Sprintf("%s (%s:%d)", name, filepath.Base(f.File), f.Line))
	}
	return strings.Join(calls, " < ")
}
