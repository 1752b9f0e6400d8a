//go:build !linux

package host

// Device is the machine's memory, taken from the Go heap: a metal.Segmenter, no
// metal.Pager. A stale slice into a freed segment never faults. When the system
// has no more the Go runtime ends the program, so keep Info's Memory well below
// what the machine has (WithMemory). Safe for concurrent use.
type Device struct{ *heapDevice }

// Open returns a device that has taken nothing yet. Devices opened twice don't
// know of each other.
func Open(opts ...Option) (*Device, error) {
	d, err := openHeap(opts)
	if err != nil {
		return nil, err
	}
	return &Device{d}, nil
}
