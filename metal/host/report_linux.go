package host

import "golang.org/x/sys/unix"

// Examine reports on this machine, now. It takes no memory and changes nothing.
func Examine() Report {
	pressure := ""
	if signals := openSignals(systemRoot, findCgroup(systemFiles())); len(signals) > 0 {
		pressure = "triggers"
		for _, s := range signals {
			if s.fd < 0 {
				pressure = "averages"
			}
			s.close()
		}
	}
	return readReport(systemFiles(), memlock(), pressure)
}

func memlock() Memlock {
	limit := int64(unknown)
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r); err == nil && r.Cur <= noLimit {
		limit = int64(r.Cur)
	}
	return readMemlock(systemFiles(), limit)
}
