package host

import (
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// What the system says about its memory is read as files below a root, so that
// tests can bring their own. A file that is missing or makes no sense is the same
// as one that sets no limit: sandboxes lack many.

const (
	unknown = -1
	noLimit = math.MaxInt64 // larger than any memory, so min leaves it out
)

// memTotal and memAvailable are bytes; unknown where the system doesn't say.
func memTotal(root fs.FS) int64     { return kibField(root, "proc/meminfo", "MemTotal") }
func memAvailable(root fs.FS) int64 { return kibField(root, "proc/meminfo", "MemAvailable") }

// kibField finds a line "name:  n kB" and returns bytes.
func kibField(root fs.FS, file, name string) int64 {
	text, ok := field(root, file, name+":")
	if !ok {
		return unknown
	}
	n, ok := parseBytes(strings.TrimSpace(strings.TrimSuffix(text, "kB")))
	if !ok || n > math.MaxInt64>>10 {
		return unknown
	}
	return n << 10
}

// field finds the line that starts with the word key and returns what follows it.
func field(root fs.FS, file, key string) (value string, ok bool) {
	for line := range lines(root, file) {
		if rest, found := strings.CutPrefix(line, key); found && (rest == "" || rest[0] == ' ' || rest[0] == '\t') {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// lines of a file; none if it can't be read.
func lines(root fs.FS, file string) func(yield func(string) bool) {
	text, _ := fs.ReadFile(root, file)
	return strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n")
}

// bytesIn reads a file that holds one number.
func bytesIn(root fs.FS, file string) (int64, bool) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	return parseBytes(strings.TrimSpace(string(text)))
}

func parseBytes(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0
}
