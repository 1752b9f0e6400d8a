package host_test

import (
	"fmt"

	"github.com/metalloc/metalloc/metal/host"
)

func ExampleOpen() {
	dev, err := host.Open(host.WithMemory(64 << 20))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(dev.Info().Kind, dev.Info().Memory>>20, "MiB")
	fmt.Println(dev.Close())
	// Output:
	// host 64 MiB
	// <nil>
}

func ExampleExamine() {
	r := host.Examine()
	fmt.Println(r.MemAvailable, "of", r.MemTotal, "bytes are available;", r.Memlock)
	for _, hint := range r.Hints {
		fmt.Println("hint:", hint)
	}
}
