package main

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/metalloc/metalloc/metal/host"
)

const labelWidth = 15

// renderDevices writes devices for people, in lines of at most width columns.
func renderDevices(devices []deviceReport, width int) string {
	var b strings.Builder
	row := func(label, format string, args ...any) {
		for _, line := range wrap(fmt.Sprintf(format, args...), width-labelWidth-2) {
			b.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s%s", labelWidth, label, line), " ") + "\n")
			label = ""
		}
	}
	for i, d := range devices {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s: %s\n", d.Kind, d.State)
		if d.Name != "" {
			row("name", "%s", d.Name)
		}
		if d.State == ready {
			row("memory", "%s, of it available %s", people(d.Memory), people(d.Available))
			row("working set", "%s", people(d.WorkingSet))
			row("page", "%s", pageText(d.PageSize))
			row("largest block", "%s", people(d.MaxBuffer))
			row("can", "%s", strings.Join(d.Can, ", "))
		}
		if d.Host != nil {
			hostRows(row, d.Host)
		}
		for _, m := range d.Missing {
			row("missing", "%s", m)
		}
	}
	return b.String()
}

// wrap breaks a text into lines of at most width columns, between words where it
// can.
func wrap(s string, width int) []string {
	lines := strings.Split(text.WrapSoft(s, width), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ") // they come filled up
	}
	return lines
}

func pageText(size int64) string {
	if size == 0 {
		return "none: whole segments only"
	}
	return people(size)
}

func hostRows(row func(label, format string, args ...any), r *host.Report) {
	row("memlock", "%s", r.Memlock)
	c := r.Cgroup
	if c.Kind == "" {
		row("cgroup", "none to be seen")
	} else {
		row("cgroup", "%s %s: limit %s, high %s, used %s", c.Kind, c.Path, or(c.Limit, "none"), or(c.High, "none"), or(c.Usage, "unknown"))
	}
	huge, pressure := r.HugePages, r.Pressure
	if huge == "" {
		huge = "unknown"
	}
	if pressure == "" {
		pressure = "can't be watched"
	}
	row("huge pages", "%s", huge)
	row("pressure", "%s", pressure)
}

// or is a number of bytes, or what stands for a negative one.
func or(n int64, none string) string {
	if n < 0 {
		return none
	}
	return people(n)
}
