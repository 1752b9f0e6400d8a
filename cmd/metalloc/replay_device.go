package main

import (
	"errors"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
)

// open gives a device whose queues run by that clock.
func (f *replayFlags) open(clock metal.Clock) (metal.Device, error) {
	if f.segments && f.handleSize.set {
		return nil, usagef("--handle-size doesn't go with --segments: whole segments have no handles")
	}
	switch f.device {
	case "host":
		if f.pageSize.set {
			return nil, usagef("--page-size goes with --device sim: the host's pages are what they are")
		}
		if f.handleSize.set {
			return nil, usagef("--handle-size goes with --device sim: the host's calls don't cost by the handle")
		}
		opts := []host.Option{host.WithClock(clock)}
		if f.memory.set {
			opts = append(opts, host.WithMemory(f.memory.bytes))
		}
		dev, err := opened(host.Open(opts...))
		if f.segments && err == nil {
			dev = withoutPages(dev)
		}
		return dev, err
	case "sim":
		cfg := sim.Config{Memory: f.memory.bytes, PageSize: f.pageSize.bytes, HandleSize: f.handleSize.bytes, Clock: clock}
		if f.segments {
			return opened(sim.NewSegments(cfg))
		}
		return opened(sim.New(cfg))
	}
	return nil, usagef("invalid argument %q for \"--device\" flag: want host or sim", f.device)
}

// opened makes sizes that a device can't have usage errors.
func opened[D metal.Device](dev D, err error) (metal.Device, error) {
	switch {
	case errors.Is(err, metal.ErrInvalidSize):
		return nil, usageError{err}
	case err != nil:
		return nil, err
	}
	return dev, nil
}

// segmentDevice is what is left of the host's device without its pages.
type segmentDevice interface {
	metal.Device
	metal.Segmenter
	metal.Marker
	metal.SoftQueuer
	metal.Meter
}

// wholeSegments hides that a device can map pages.
type wholeSegments struct{ segmentDevice }

// Info is the device's, without what pages have.
func (d wholeSegments) Info() metal.Info {
	info := d.segmentDevice.Info()
	info.PageSize, info.HandleSize, info.Aliases = 0, 0, false
	return info
}

// withoutPages gives the host's device as one that takes whole segments only;
// where the system has no pages to map it is that already.
func withoutPages(dev metal.Device) metal.Device {
	if _, pages := dev.(metal.Pager); !pages {
		return dev
	}
	return wholeSegments{dev.(segmentDevice)}
}
