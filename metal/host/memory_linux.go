package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// totalMemory is what /proc/meminfo calls MemTotal. Limits of a control group
// are not looked at.
func totalMemory() (int64, error) {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return 0, fmt.Errorf("host: sysinfo: %w", err)
	}
	return int64(si.Totalram) * int64(si.Unit), nil
}
