package host

import (
	"strconv"
	"strings"
	"time"

	"github.com/metalloc/metalloc/metal"
)

// When memory counts as short. The kernel tells for how long tasks stood still
// for want of memory (pressure stall information): some of them, or all at once.
const (
	// stallWindow is what the stalls are added up over. Without CAP_SYS_RESOURCE
	// the kernel takes only multiples of 2 s.
	stallWindow = 2 * time.Second

	// warnStall of the window lost by some tasks, criticalStall lost by all: one
	// twentieth. GLib's GMemoryMonitor draws the lines of its medium and critical
	// level there, and it has been in use on desktops for years.
	warnStall     = 100 * time.Millisecond
	criticalStall = 100 * time.Millisecond

	// warnAverage and criticalAverage are the same shares of time in percent, for
	// where only the average of the last 10 s can be read.
	warnAverage     = 100 * float64(warnStall) / float64(stallWindow)
	criticalAverage = 100 * float64(criticalStall) / float64(stallWindow)

	// levelHold is how long a level lasts after its last sign. Signs come once a
	// window while tasks stall, so one may be missed.
	levelHold = 2 * stallWindow

	// levelRepeat is the least time between two calls with the same level, and how
	// often files are read that can't be waited for.
	levelRepeat = time.Second
)

// stallLevel judges the text of a pressure file by its 10 s averages.
func stallLevel(text string) metal.Level {
	level := metal.Normal
	for line := range strings.Lines(text) {
		switch average := average10(line); {
		case strings.HasPrefix(line, "full ") && average >= criticalAverage:
			return metal.Critical
		case strings.HasPrefix(line, "some ") && average >= warnAverage:
			level = metal.Warn
		}
	}
	return level
}

// average10 is a line's avg10 in percent; 0 if there is none.
func average10(line string) float64 {
	for word := range strings.FieldsSeq(line) {
		if text, ok := strings.CutPrefix(word, "avg10="); ok {
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				return n
			}
		}
	}
	return 0
}

// groupEvents are counters of a group's memory.events.
type groupEvents struct {
	held   int64 // it was throttled or made to reclaim at a limit
	failed int64 // reclaiming was not enough
}

func parseEvents(text string) (e groupEvents) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, ok := parseBytes(value)
		if !ok {
			continue
		}
		switch name {
		case "high", "max":
			e.held += n
		case "oom", "oom_kill":
			e.failed += n
		}
	}
	return e
}

// since judges what happened between two readings. A group that is full of file
// cache meets its limit all the time and does well: that is a warning only.
func (e groupEvents) since(before groupEvents) metal.Level {
	switch {
	case e.failed > before.failed:
		return metal.Critical
	case e.held > before.held:
		return metal.Warn
	}
	return metal.Normal
}

// gauge turns signs of pressure into levels that last.
type gauge struct {
	until [metal.Critical + 1]time.Duration // when each level is over
	told  metal.Level
	at    time.Duration // when it was told
}

// sign notes a level seen at now; Normal is no sign.
func (g *gauge) sign(l metal.Level, now time.Duration) { g.until[l] = now + levelHold }

func (g *gauge) level(now time.Duration) metal.Level {
	for l := metal.Critical; l > metal.Normal; l-- {
		if now < g.until[l] {
			return l
		}
	}
	return metal.Normal
}

// tell says whether the level is to be told at now, and takes it as told. fresh:
// there was a sign just now.
func (g *gauge) tell(now time.Duration, fresh bool) (metal.Level, bool) {
	l := g.level(now)
	repeat := fresh && l != metal.Normal && now-g.at >= levelRepeat
	if l == g.told && !repeat {
		return l, false
	}
	g.told, g.at = l, now
	return l, true
}

// over is how long the level lasts without another sign; negative: for ever.
func (g *gauge) over(now time.Duration) time.Duration {
	l := g.level(now)
	if l == metal.Normal {
		return -1
	}
	return g.until[l] - now
}
