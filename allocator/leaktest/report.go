package leaktest

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"

	humanize "github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
)

// maxFrames of a call site are printed: enough to tell callers of a shared
// helper apart.
const maxFrames = 4

// group is live buffers of one stream that were asked for at one place.
type group struct {
	stream, site string
	count, bytes int64
}

// report lists the buffers by stream and call site, most bytes first.
func report(left []allocator.LiveBuffer) string {
	groups := map[[2]string]*group{}
	var bytes int64
	for _, b := range left {
		k := [2]string{b.Stream, siteText(b.Site)}
		g := groups[k]
		if g == nil {
			g = &group{stream: k[0], site: k[1]}
			groups[k] = g
		}
		g.count++
		g.bytes += b.Size
		bytes += b.Size
	}
	sorted := make([]*group, 0, len(groups))
	for _, g := range groups {
		sorted = append(sorted, g)
	}
	slices.SortFunc(sorted, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), strings.Compare(a.stream, b.stream), strings.Compare(a.site, b.site))
	})
	var t strings.Builder
	fmt.Fprintf(&t, "leaktest: %s still live, %s:", count(int64(len(left))), humanize.IBytes(uint64(bytes)))
	for _, g := range sorted {
		fmt.Fprintf(&t, "\n  %s, %s, of stream %q, from\n%s", count(g.count), humanize.IBytes(uint64(g.bytes)), g.stream, g.site)
	}
	return t.String()
}

func count(n int64) string {
	if n == 1 {
		return "1 buffer"
	}
	return humanize.Comma(n) + " buffers"
}

func siteText(site *actors.Site) string {
	var lines []string
	for f := range frames(site) {
		lines = append(lines, fmt.Sprintf("      %s:%d  %s", f.File, f.Line, f.Function))
		if len(lines) == maxFrames {
			break
		}
	}
	if len(lines) == 0 {
		return "      a call that was not noted: leaktest was not on yet, or an actor's message"
	}
	return strings.Join(lines, "\n")
}

// frames are the frames of a call site outside of metalloc and the test runner.
func frames(site *actors.Site) func(yield func(runtime.Frame) bool) {
	return func(yield func(runtime.Frame) bool) {
		if site == nil {
			return
		}
		for fs := site.Frames(); ; {
			f, more := fs.Next()
			if f.Function != "" && !inside(f.Function) && !yield(f) || !more {
				return
			}
		}
	}
}

func inside(function string) bool {
	for _, p := range []string{
		"github.com/metalloc/metalloc/actors.", "github.com/metalloc/metalloc/allocator.", "testing.", "runtime.",
	} {
		if strings.HasPrefix(function, p) {
			return true
		}
	}
	return false
}

// calledBy reports whether the function is among the call site's frames.
func calledBy(site *actors.Site, function string) bool {
	for f := range frames(site) {
		if f.Function == function {
			return true
		}
	}
	return false
}
