package host

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const systemRoot = "/"

func systemFiles() fs.FS { return os.DirFS(systemRoot) }

// machineLimits asks the kernel itself where /proc/meminfo is hidden.
func machineLimits() (limits, error) {
	l := readLimits(systemFiles(), findCgroup(systemFiles()))
	if l.memory > 0 {
		return l, nil
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return limits{}, fmt.Errorf("host: sysinfo: %w", err)
	}
	l.memory = int64(si.Totalram) * int64(si.Unit)
	return l, nil
}
