package host

import (
	"io/fs"
	"path"
	"strings"
)

// cgroup is the control group that accounts for this process's memory. The zero
// value is none.
type cgroup struct {
	kind    string // "v2", "v1", "hybrid" (v1 accounts for memory, beside v2)
	path    string // as the kernel names it
	files   memoryFiles
	dirs    []string // its folder, then those of the groups above as far as they can be seen
	unified string   // its folder in the v2 tree, "" without; has the files on pressure
}

// memoryFiles are a version's names for the same figures.
type memoryFiles struct{ limit, high, usage, inactive string }

var (
	v2Files = memoryFiles{"memory.max", "memory.high", "memory.current", "inactive_file"}
	v1Files = memoryFiles{"memory.limit_in_bytes", "", "memory.usage_in_bytes", "total_inactive_file"}
)

// v1NoLimit and above means none: v1 writes the largest number of whole pages
// that fit in an int64.
const v1NoLimit = 1 << 62

// findCgroup never fails: without the files that it needs there is no group.
func findCgroup(root fs.FS) cgroup {
	v1Path, v2Path := cgroupPaths(root)
	v1Mount, v2Mount := cgroupMounts(root)
	var c cgroup
	if v2Path != "" && v2Mount.point != "" {
		c = cgroup{kind: "v2", path: v2Path, files: v2Files, dirs: v2Mount.dirs(root, v2Path)}
		c.unified = c.dirs[0]
	}
	if v1Path != "" && v1Mount.point != "" {
		kind := "v1"
		if c.kind != "" {
			kind = "hybrid"
		}
		c = cgroup{kind, v1Path, v1Files, v1Mount.dirs(root, v1Path), c.unified}
	}
	return c
}

// cgroupPaths are this process's groups: of v1's memory controller and of v2; ""
// for none.
func cgroupPaths(root fs.FS) (v1, v2 string) {
	for line := range lines(root, "proc/self/cgroup") {
		parts := strings.SplitN(line, ":", 3) // number:controllers:path
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			continue
		}
		if parts[0] == "0" && parts[1] == "" {
			v2 = parts[2]
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			if controller == "memory" {
				v1 = parts[2]
			}
		}
	}
	return v1, v2
}

// mount is where a hierarchy's files can be seen: those of the group root and
// below it lie under point.
type mount struct{ root, point string }

func cgroupMounts(root fs.FS) (v1, v2 mount) {
	for line := range lines(root, "proc/self/mountinfo") {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		m := mount{root: unescape(l[3]), point: strings.TrimPrefix(path.Clean(unescape(l[4])), "/")}
		switch {
		case r[0] == "cgroup2" && v2.point == "":
			v2 = m
		case r[0] == "cgroup" && v1.point == "" && strings.Contains(","+r[2]+",", ",memory,"):
			v1 = m
		}
	}
	return v1, v2
}

// unescape undoes what mountinfo does to white space and backslashes in names.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// dirs are the folders of a group and of those above it, itself first. A group
// that isn't below the mount's root (a namespace shows it as / or as ../x) has its
// files, or those of the nearest group above it, at the mount point.
func (m mount) dirs(root fs.FS, group string) []string {
	dir := m.point
	if rest, ok := strings.CutPrefix(group, strings.TrimSuffix(m.root, "/")+"/"); ok && !strings.Contains("/"+rest+"/", "/../") {
		dir = path.Join(m.point, rest)
	}
	if _, err := fs.Stat(root, dir); err != nil {
		dir = m.point
	}
	dirs := []string{dir}
	for dir != m.point {
		dir = path.Dir(dir)
		dirs = append(dirs, dir)
	}
	return dirs
}

// limits are the least of the group and of all above it. A group's processes are
// throttled above high and stopped from growing at limit. noLimit: none.
func (c cgroup) limits(root fs.FS) (limit, high int64) {
	limit, high = noLimit, noLimit
	for _, dir := range c.dirs {
		limit = min(limit, limitIn(root, path.Join(dir, c.files.limit)))
		if c.files.high != "" {
			high = min(high, limitIn(root, path.Join(dir, c.files.high)))
		}
	}
	return limit, high
}

func limitIn(root fs.FS, file string) int64 {
	if n, ok := bytesIn(root, file); ok && n < v1NoLimit {
		return n
	}
	return noLimit // also for v2's "max"
}

// usage is what the group's processes use, file cache included; -1: unknown.
func (c cgroup) usage(root fs.FS) int64 {
	if len(c.dirs) > 0 {
		if n, ok := bytesIn(root, path.Join(c.dirs[0], c.files.usage)); ok {
			return n
		}
	}
	return unknown
}

// room is how much more the group may use before it or one above it meets its
// limit; noLimit: none. File cache that wasn't used lately counts as room, since
// the kernel drops it first; without that a container that reads files looks full.
func (c cgroup) room(root fs.FS) int64 {
	room := int64(noLimit)
	for _, dir := range c.dirs {
		limit := limitIn(root, path.Join(dir, c.files.limit))
		if limit == noLimit {
			continue
		}
		used, ok := bytesIn(root, path.Join(dir, c.files.usage))
		if !ok {
			continue
		}
		text, _ := field(root, path.Join(dir, "memory.stat"), c.files.inactive)
		inactive, ok := parseBytes(text)
		if !ok {
			inactive = 0
		}
		room = min(room, max(0, limit-max(0, used-inactive)))
	}
	return room
}

// readLimits are the machine's, as far as the files tell.
func readLimits(root fs.FS, c cgroup) limits {
	limit, high := c.limits(root)
	total := memTotal(root)
	if total < 0 {
		total = 0
	}
	if limit < noLimit && (total == 0 || limit < total) {
		total = limit
	}
	return limits{memory: total, high: high}
}

// readRoom is how much more the system can give to this program; noLimit where it
// doesn't say.
func readRoom(root fs.FS, c cgroup) int64 {
	room := c.room(root)
	if available := memAvailable(root); available >= 0 {
		room = min(room, available)
	}
	return room
}
