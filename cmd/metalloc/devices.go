package main

import (
	"errors"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
)

// The states of a device.
const (
	ready      = "ready"
	failed     = "failed"             // Missing says why
	notBuiltIn = "not built in yet"   // and Missing what else it would need
	notHere    = "not on this system" // likewise
)

// deviceReport is one device as `devices --json` shows it; bytes.
type deviceReport struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	State string `json:"state"`

	Memory     int64 `json:"memory"`      // in all; what follows is 0 too where the device isn't ready
	Available  int64 `json:"available"`   // of it, now
	WorkingSet int64 `json:"working_set"` // recommended maximum
	PageSize   int64 `json:"page_size"`   // 0: whole segments only
	MaxBuffer  int64 `json:"max_buffer"`  // largest single block

	Can     []string     `json:"can"`            // what the runtime can make use of
	Missing []string     `json:"missing"`        // what is missing here, what that costs, how to mend it
	Host    *host.Report `json:"host,omitempty"` // what the machine offers; host alone
}

func newDevices() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "Show where memory can be taken from, and what is missing here",
		Long: `Show every kind of device that metalloc knows: its limits on this machine, what
it can do, what is missing and how to mend that. Nothing is taken or changed.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("devices takes no arguments, got %q", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			devices := []deviceReport{hostReport(), simReport(), cudaReport(thisMachine()), metalReport(thisMachine())}
			if asJSON {
				return printJSON(devices)
			}
			_, err := os.Stdout.WriteString(renderDevices(devices, stdoutWidth()))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array; bytes")
	return cmd
}

func hostReport() deviceReport {
	r := reportOf("host", func() (metal.Device, error) { return host.Open() })
	machine := host.Examine()
	r.Host = &machine
	r.Missing = append(r.Missing, machine.Hints...)
	return r
}

func simReport() deviceReport {
	return reportOf("sim", func() (metal.Device, error) { return sim.New(sim.Config{}) })
}

// reportOf opens a device for as long as it takes to ask. That it can't be opened
// is something to report, no failure of the command.
func reportOf(kind string, open func() (metal.Device, error)) deviceReport {
	r := deviceReport{Kind: kind, State: failed, Can: []string{}, Missing: []string{}}
	dev, err := open()
	if err != nil {
		r.Missing = append(r.Missing, err.Error())
		return r
	}
	info := dev.Info()
	r.State = ready
	r.Name, r.Memory, r.WorkingSet, r.PageSize = info.Name, info.Memory, info.WorkingSet, info.PageSize
	r.MaxBuffer, r.Available = info.MaxBuffer, info.Memory
	if r.MaxBuffer == 0 {
		r.MaxBuffer = info.Memory
	}
	r.Can = append(r.Can, abilities(dev)...)
	if m, ok := dev.(metal.Meter); ok {
		var usage metal.Usage
		usage, err = m.Usage()
		r.Available = usage.Available
	}
	if err := errors.Join(err, dev.Close()); err != nil {
		r.State = failed
		r.Missing = append(r.Missing, err.Error())
	}
	return r
}

func abilities(dev metal.Device) (can []string) {
	add := func(ok bool, what string) {
		if ok {
			can = append(can, what)
		}
	}
	_, ok := dev.(metal.Pager)
	add(ok, "map pages")
	_, ok = dev.(metal.Segmenter)
	add(ok, "take segments")
	_, ok = dev.(metal.Wirer)
	add(ok, "wire")
	_, ok = dev.(metal.Pressurer)
	add(ok, "tell of pressure")
	_, ok = dev.(metal.Marker)
	add(ok, "mark queues")
	return can
}

func thisMachine() machine {
	m := machine{os: runtime.GOOS, arch: runtime.GOARCH, libraryPath: os.Getenv("LD_LIBRARY_PATH"), root: os.DirFS("/")}
	if m.os == "windows" {
		m.root = os.DirFS(os.Getenv("SystemDrive") + `\`)
	}
	return m
}
