//go:build !linux

package host

// Examine reports on this machine, now. It takes no memory and changes nothing.
func Examine() Report {
	total := int64(unknown)
	if machine, err := machineLimits(); err == nil && machine.memory > 0 {
		total = machine.memory
	}
	return Report{
		MemTotal:     total,
		MemAvailable: unknown,
		Cgroup:       Cgroup{Limit: unknown, High: unknown, Usage: unknown},
		Memlock:      Memlock{Limit: unknown, Used: unknown},
		Hints: []string{
			"on this system host memory comes from the Go heap: it can't be mapped by page, wired or watched for pressure; Linux can",
		},
	}
}
