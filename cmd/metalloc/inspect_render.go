package main

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/guptarohit/asciigraph"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/metalloc/metalloc/internal/inspect"
	"github.com/metalloc/metalloc/telemetry/torch"
)

const (
	chartHeight = 12
	chartMargin = 12 + 5 // columns for the values at the left and half a time at the right
	liveShown   = 8      // blocks
)

// chartPoints is how many steps of time a chart of that width has room for.
func chartPoints(width int) int { return width - chartMargin }

// renderSummary writes a summary for people, in lines of at most width columns.
func renderSummary(s *inspect.Summary, width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s events", s.Trace, count(s.Events))
	if s.DurationUS > 0 {
		fmt.Fprintf(&b, " in %s", micros(s.DurationUS))
	}
	b.WriteByte('\n')
	for _, line := range append(wrap(actions(s), width), "") {
		b.WriteString(line + "\n")
	}
	b.WriteString(summaryTable(s) + "\n")
	histogram(&b, "Mallocs by size: how many, bytes in all", s.Sizes, width, sizeRange)
	histogram(&b, "Freed blocks by lifetime in events: how many, bytes in all", s.LifetimeEvents, width, eventRange)
	histogram(&b, "Freed blocks by lifetime in time: how many, bytes in all", s.LifetimeUS, width, timeRange)
	b.WriteString("\n" + liveText(s) + "\n" + overTime(s, width))
	return b.String()
}

// actions lists the events by kind, in the order of a block's life.
func actions(s *inspect.Summary) string {
	var parts []string
	for a := torch.Alloc; a <= torch.SegmentFree; a++ {
		if n := s.Actions[a.String()]; n > 0 {
			parts = append(parts, a.String()+" "+count(n))
		}
	}
	if n := s.Actions[torch.Other.String()]; n > 0 {
		parts = append(parts, torch.Other.String()+" "+count(n))
	}
	text := strings.Join(parts, ", ")
	if s.Skipped > 0 {
		text += fmt.Sprintf("\n%s frees without a malloc in the file", count(s.Skipped))
	}
	return text
}

func summaryTable(s *inspect.Summary) string {
	t := newTable(table.Row{"stream", "mallocs", "frees", "requested peak", "live", "bytes"})
	var bytes int64
	for _, r := range s.Streams {
		t.AppendRow(table.Row{
			streamName(r.Stream), count(r.Mallocs), count(r.Frees), people(r.RequestedPeak), count(r.LiveEnd), people(r.LiveBytes),
		})
		bytes += r.LiveBytes
	}
	t.AppendFooter(table.Row{"all", count(s.Mallocs), count(s.Frees), people(s.RequestedPeak), count(s.LiveEnd), people(bytes)})
	return t.Render()
}

// histogram draws a bar for each bin, as long as its count.
func histogram(b *strings.Builder, title string, bins []inspect.Bin, width int, label func(inspect.Bin) string) {
	if len(bins) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	var most int64
	labelWidth := 0
	for _, bin := range bins {
		most = max(most, bin.Count)
		labelWidth = max(labelWidth, utf8.RuneCountInString(label(bin)))
	}
	const columns = 2 + 1 + 11 + 12 + 2 // left margin, gap, count, bytes, gap
	for _, bin := range bins {
		line := fmt.Sprintf("  %*s %10s %12s  %s", labelWidth, label(bin), count(bin.Count), people(bin.Bytes),
			block(bin.Count, most, width-labelWidth-columns))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// block is a bar of n out of most, full at width columns; something for any n
// above 0.
func block(n, most int64, width int) string {
	const eighths = "▏▎▍▌▋▊▉"
	if n <= 0 || width <= 0 {
		return ""
	}
	units := max(1, int(math.Round(float64(n)/float64(most)*float64(width)*8)))
	bar := strings.Repeat("█", units/8)
	if rest := units % 8; rest > 0 {
		bar += string([]rune(eighths)[rest-1])
	}
	return bar
}

func sizeRange(bin inspect.Bin) string {
	size := func(n int64) string { return strings.Replace(humanize.IBytes(uint64(n)), ".0", "", 1) }
	return binRange(bin, size)
}

func eventRange(bin inspect.Bin) string { return binRange(bin, count[int64]) }

func timeRange(bin inspect.Bin) string { return binRange(bin, micros) }

func binRange(bin inspect.Bin, text func(int64) string) string {
	switch bin.To {
	case 1:
		return text(0)
	case math.MaxInt64:
		return "from " + text(bin.From)
	}
	return text(bin.From) + " – " + text(bin.To)
}

// micros writes microseconds for people, short also where a file's times are
// absurd.
func micros(us int64) string {
	d := time.Duration(min(us, math.MaxInt64/1000)) * time.Microsecond
	if d >= 100*time.Hour {
		return fmt.Sprintf("%.0fh", d.Hours())
	}
	return duration(d.Nanoseconds())
}

func liveText(s *inspect.Summary) string {
	if len(s.Live) == 0 {
		return "Never freed: nothing\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Never freed: %s blocks\n", count(s.LiveEnd))
	for _, block := range s.Live[:min(len(s.Live), liveShown)] {
		fmt.Fprintf(&b, "  %10s on %s, event %s", people(block.Size), streamName(block.Stream), count(block.Event))
		if s.DurationUS > 0 {
			fmt.Fprintf(&b, ", after %s", micros(block.TimeUS))
		}
		b.WriteByte('\n')
	}
	if more := len(s.Live) - liveShown; more > 0 {
		fmt.Fprintf(&b, "  and %s more\n", count(more))
	}
	return b.String()
}

// overTime draws what was requested and what PyTorch had reserved for it.
func overTime(s *inspect.Summary, width int) string {
	if len(s.OverTime) == 0 {
		return ""
	}
	var requested, reserved []float64
	for _, p := range s.OverTime {
		requested = append(requested, float64(p.Requested))
		reserved = append(reserved, float64(p.Reserved))
	}
	title := fmt.Sprintf("─ active (requested), peak %s", people(s.RequestedPeak))
	series := [][]float64{requested}
	lines := []asciigraph.CharSet{asciigraph.DefaultCharSet}
	if s.ReservedPeak > 0 {
		title += fmt.Sprintf("   ░ reserved by PyTorch, peak %s", people(s.ReservedPeak))
		series = [][]float64{reserved, requested} // the later one is drawn on top
		lines = []asciigraph.CharSet{asciigraph.CreateCharSet("░"), asciigraph.DefaultCharSet}
	}
	end, text := float64(s.DurationUS), func(v float64) string { return micros(int64(v)) }
	if s.DurationUS == 0 {
		end, text = float64(s.Events), func(v float64) string { return count(int64(v)) }
	}
	return strings.Join(wrap(title, width), "\n") + "\n" + asciigraph.PlotMany(series,
		asciigraph.Height(chartHeight), asciigraph.LowerBound(0), asciigraph.UpperBound(1),
		asciigraph.SeriesChars(lines...),
		asciigraph.YAxisValueFormatter(func(v float64) string { return fmt.Sprintf("%9s", people(int64(v))) }),
		asciigraph.XAxisRange(0, end), asciigraph.XAxisTickCount(5), asciigraph.XAxisValueFormatter(text),
	) + "\n"
}
