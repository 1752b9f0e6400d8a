package sim_test

import (
	"errors"
	"fmt"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

func ExampleNew() {
	dev, err := sim.New(sim.Config{Memory: 8 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := dev.Create(2 << 20)
	fmt.Println(err, dev.ModelledTime())
	_, err = dev.Create(8 << 20)
	fmt.Println(errors.Is(err, metal.ErrOutOfMemory))
	fmt.Println(errors.Is(dev.Close(), metal.ErrBusy))
	fmt.Println(dev.Release(h), dev.Close())
	// Output:
	// <nil> 11.5µs
	// true
	// true
	// <nil> <nil>
}

// A test makes the device fail when it likes.
func ExampleDevice_failNext() {
	dev, err := sim.NewSegments(sim.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	dev.FailNext(sim.CallAlloc, 2, metal.ErrDeviceLost)
	for range 3 {
		_, err := dev.Alloc(1 << 20)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// sim: scripted failure of Alloc: device lost
	// <nil>
}

// A test says when memory gets short.
func ExampleDevice_setPressure() {
	dev, err := sim.New(sim.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	stop, err := dev.WatchPressure(func(l metal.Level) { fmt.Println(l) })
	if err != nil {
		fmt.Println(err)
		return
	}
	dev.SetPressure(metal.Warn)
	dev.SetPressure(metal.Normal)
	stop()
	dev.SetPressure(metal.Critical)
	fmt.Println(dev.Close())
	// Output:
	// warn
	// normal
	// <nil>
}
