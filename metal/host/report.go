package host

import (
	"fmt"
	"io/fs"
	"strings"
)

// Report is what the machine and the system offer a device of this package, as
// plain data. Bytes; -1 stands for unknown where nothing else is said.
type Report struct {
	MemTotal     int64   `json:"mem_total"`
	MemAvailable int64   `json:"mem_available"` // what programs can still take, says the system
	Cgroup       Cgroup  `json:"cgroup"`
	Memlock      Memlock `json:"memlock"`
	HugePages    string  `json:"huge_pages"` // transparent ones: "always", "madvise", "never"; "": unknown
	Pressure     string  `json:"pressure"`   // how WatchPressure watches: "triggers", "averages"; "": not at all

	// Hints say what is missing here, what that costs and how to mend it; empty:
	// nothing is.
	Hints []string `json:"hints"`
}

// Cgroup is the control group that accounts for this process's memory.
type Cgroup struct {
	Kind  string `json:"kind"`  // "v2", "v1", "hybrid" (v1 accounts for memory, beside v2), "": none to be seen
	Path  string `json:"path"`  // as the kernel names it
	Limit int64  `json:"limit"` // the least of it and those above it; -1: none
	High  int64  `json:"high"`  // from where it is throttled, likewise; -1: none
	Usage int64  `json:"usage"` // file cache included
}

// readReport fills in what files tell. memlock and pressure are asked for
// elsewhere.
func readReport(root fs.FS, memlock Memlock, pressure string) Report {
	c := findCgroup(root)
	limit, high := c.limits(root)
	r := Report{
		MemTotal:     memTotal(root),
		MemAvailable: memAvailable(root),
		Cgroup:       Cgroup{c.kind, c.path, orUnknown(limit), orUnknown(high), c.usage(root)},
		Memlock:      memlock,
		HugePages:    hugePages(root),
		Pressure:     pressure,
	}
	r.Hints = r.hints()
	return r
}

func orUnknown(n int64) int64 {
	if n == noLimit {
		return unknown
	}
	return n
}

// hugePages finds the chosen word in brackets: always [madvise] never.
func hugePages(root fs.FS) string {
	text, _ := fs.ReadFile(root, "sys/kernel/mm/transparent_hugepage/enabled")
	_, rest, _ := strings.Cut(string(text), "[")
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

func (r Report) hints() []string {
	hints := []string{}
	add := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	if r.MemTotal < 0 || r.MemAvailable < 0 {
		add("/proc/meminfo is missing or incomplete: how much memory is free is not known; mount /proc")
	}
	if r.Cgroup.Kind == "" {
		add("no control group to be seen: a container's memory limit would go unnoticed; mount /sys/fs/cgroup, or set the limit by hand (WithMemory)")
	}
	if high := r.Cgroup.High; high >= 0 && (r.Cgroup.Limit < 0 || high < r.Cgroup.Limit) {
		add("above %d bytes the control group is slowed down (memory.high): the working set ends there; raise memory.high to use more", high)
	}
	if !r.Memlock.unlimited() && (r.MemTotal < 0 || r.Memlock.Limit < r.MemTotal) {
		add("wiring is limited (%v): %s", r.Memlock, raiseMemlock)
	}
	switch r.HugePages {
	case "never":
		add("transparent huge pages are off, so WithHugePages does nothing: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
	case "":
		add("the kernel has no transparent huge pages, so WithHugePages does nothing")
	}
	switch r.Pressure {
	case "averages":
		add("pressure is read once a second, since the kernel takes no triggers from this process: it needs a writable memory.pressure or /proc/pressure/memory, and on older kernels CAP_SYS_RESOURCE")
	case "":
		add("memory pressure can't be watched: needs Linux 4.20 with CONFIG_PSI, booted with psi=1 where it is off by default, and /proc/pressure or /sys/fs/cgroup mounted")
	}
	return hints
}
