package actors

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Shortage says why memory was refused: what holds it, and why what is free could
// not serve. All sizes are bytes. Each stream was asked at an instant of its own,
// shortly after the refusal: while others go on, the parts need not add up.
type Shortage struct {
	Limit int64 // that the malloc would have passed
	Over  int64 // by how much; 0: it was the device that had no more
	Need  int64 // that it still wanted from the device

	// How things stood at the refusal: of the runtime, or of the one stream when it
	// was the stream's own limit.
	Reserved, Active, Cache, Slack int64

	Gathered int64 // of Cache: free pages found for this malloc before it was refused
	Coming   int64 // of Cache: pages on their way to other mallocs
	Leaving  int64 // of Cache: pages on their way back to the device
	Promised int64 // to other mallocs under way; counts against the limit

	// Held are the streams that hold most, at most 16, the largest first. Nil when
	// that was told less than a second before and no more is reserved since: a loop
	// of mallocs that are refused must not stop every stream each time.
	Held       []Holding
	Others     int   // streams that hold memory and are not in Held
	OthersHold int64 // of theirs, reserved

	own bool // it was the stream's own limit
}

// Holding is what one stream holds. Free bytes, Cache + Slack, are told apart by
// what kept them from serving.
type Holding struct {
	Stream   string
	StreamID uint64
	Closed   bool // its buffers live on
	Asked    bool // the malloc was on this stream

	Active, Cache, Slack int64
	Buffers              int         // live
	Largest              []LiveGroup // of them, at most 3

	Queued  int64 // queued work may still use them
	Shared  int64 // on pages that live buffers hold
	Large   int64 // of Shared, on pages larger than the device's smallest
	Claimed int64 // where a malloc under way was to lie, for one this malloc (Asked)
	Free    int64 // freed since the refusal
}

// LiveGroup is live buffers of one size, asked for at one place.
type LiveGroup struct {
	Size  int64 // requested, bytes
	Count int
	Site  *Site // nil: not noted (TrackCallSites)
}

func (h *Holding) reserved() int64 { return h.Active + h.Cache + h.Slack }

// String is the figures in one line.
func (s *Shortage) String() string {
	wanted := ""
	if s.Over == 0 {
		wanted = sizeText(s.Need) + " wanted, "
	}
	return wanted + fmt.Sprintf("reserved %s = active %s + cache %s + slack %s",
		sizeText(s.Reserved), sizeText(s.Active), sizeText(s.Cache), sizeText(s.Slack))
}

// holders is the rest, a line for each holder.
func (s *Shortage) holders() string {
	if s.Held == nil {
		return ""
	}
	var lines []string
	for i := range s.Held {
		lines = append(lines, s.Held[i].String())
	}
	if s.Others > 0 {
		lines = append(lines, fmt.Sprintf("%s: %s", counted(s.Others, "more stream"), sizeText(s.OthersHold)))
	}
	for _, part := range []reason{
		{s.Gathered, "free pages gathered for this malloc, in vain"},
		{s.Coming, "on the way to other mallocs"},
		{s.Promised, "promised to other mallocs, not taken yet"},
		{s.Leaving, "on the way back to the device"},
	} {
		if part.n > 0 {
			lines = append(lines, sizeText(part.n)+": "+part.text)
		}
	}
	return strings.Join(lines, "\n")
}

// String is one line.
func (h *Holding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", h.Stream)
	if h.Closed {
		b.WriteString(", closed")
	}
	fmt.Fprintf(&b, ": active %s", sizeText(h.Active))
	if h.Buffers > 0 {
		fmt.Fprintf(&b, " in %s", counted(h.Buffers, "buffer"))
		word := ", the largest "
		for _, g := range h.Largest {
			b.WriteString(word + g.String())
			word = ", "
		}
	}
	if h.Cache+h.Slack == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "; cache %s + slack %s", sizeText(h.Cache), sizeText(h.Slack))
	word := ": "
	for _, part := range h.reasons() {
		if part.n > 0 {
			b.WriteString(word + sizeText(part.n) + " " + part.text)
			word = ", "
		}
	}
	return b.String()
}

type reason struct {
	n    int64
	text string
}

func (h *Holding) reasons() []reason {
	shared, claimed := "on pages that live buffers hold", "where other mallocs are to lie"
	if h.Large > 0 {
		shared += fmt.Sprintf(" (%s of it on large pages)", sizeText(h.Large))
	}
	if h.Asked {
		claimed = "where it would have lain"
	}
	return []reason{
		{h.Queued, "that queued work may still use"},
		{h.Shared, shared},
		{h.Claimed, claimed},
		{h.Free, "freed since"},
	}
}

func (g LiveGroup) String() string {
	text := sizeText(g.Size)
	if g.Count > 1 {
		text = fmt.Sprintf("%d × %s", g.Count, text)
	}
	if g.Site == nil {
		return text
	}
	file, line := g.Site.caller()
	return fmt.Sprintf("%s (%s:%d)", text, path.Join(path.Base(path.Dir(file)), path.Base(file)), line)
}

// caller is the innermost frame that is not metalloc's.
func (s *Site) caller() (file string, line int) {
	const us = "github.com/metalloc/metalloc/"
	for fs := s.Frames(); ; {
		f, more := fs.Next()
		if !strings.HasPrefix(f.Function, us+"actors.") && !strings.HasPrefix(f.Function, us+"allocator.") || !more {
			return f.File, f.Line
		}
	}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sizeText gives bytes with four digits: with fewer a limit and what is just above
// it look the same.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	x, i := float64(n), 0
	for x >= 1024 && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	return strconv.FormatFloat(x, 'g', 4, 64) + " " + units[i]
}
