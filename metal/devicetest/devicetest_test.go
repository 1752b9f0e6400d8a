package devicetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
)

func newBroken(t *testing.T, b bug) *broken {
	d, err := sim.New(sim.Config{Memory: 1 << 30, MaxBuffer: 1 << 29, NoAliases: b == claimsAliases})
	require.NoError(t, err)
	return &broken{Device: d, bug: b, wires: map[uintptr]int64{}}
}

func checkNamed(t *testing.T, name string) check {
	for _, c := range checks {
		if c.name == name {
			return c
		}
	}
	require.Fail(t, "no check "+name)
	return check{}
}

// TestBrokenDevicesAreCaught runs each check on a device that breaks its rule. No
// check may be left that has not been seen to fail.
func TestBrokenDevicesAreCaught(t *testing.T) {
	seen := map[string]bool{}
	catch := func(t *testing.T, name string, dev metal.Device) {
		c := checkNamed(t, name)
		require.True(t, judge(c, dev).Failed(), "%s let it pass", name)
		seen[name] = true
	}
	for _, c := range []struct {
		bug    bug
		caught []string
	}{
		{zeroPageSize, []string{"device/info"}},
		{closesInUse, []string{"device/close"}},
		{worksClosed, []string{"device/closed", "device/close"}},
		{oddHandleSize, []string{"device/info"}},
		{roundsSizes, []string{"pager/sizes"}},
		{endlessSpace, []string{"pager/sizes"}},
		{createsFree, []string{"modeler/handles"}},
		{mapsFree, []string{"modeler/handles"}},
		{sameRange, []string{"pager/ranges", "pager/random"}},
		{vagueNoMemory, []string{"pager/out of memory"}},
		{mapsHalf, []string{"pager/map", "pager/random"}},
		{mapsOverOthers, []string{"pager/map", "pager/random"}},
		{unmapsParts, []string{"pager/unmap", "pager/random"}},
		{releasesMapped, []string{"pager/giving back", "pager/unmap", "pager/random"}},
		{releasesTwice, []string{"pager/giving back"}},
		{vagueTooLarge, []string{"segmenter/sizes"}},
		{freesTwice, []string{"segmenter/free"}},
		{sameSegment, []string{"segmenter/free", "segmenter/random"}},
		{shortSegment, []string{"segmenter/sizes", "segmenter/random"}},
		{claimsAliases, []string{"pager/aliases"}},
		{hidesAliases, []string{"pager/map once"}},
		{countsMapped, []string{"meter/pages", "meter/segments", "pager/random"}},
		{countsPagesTwice, []string{"pager/random", "segmenter/random"}},
		{wiresAnything, []string{"wirer/pages", "wirer/segments"}},
		{wiresNest, []string{"wirer/pages", "wirer/segments"}},
		{countsWires, []string{"wirer/pages", "wirer/segments"}},
		{movesWired, []string{"wirer/pages", "wirer/segments"}},
		{watchesClosed, []string{"pressurer/stop"}},
		{queueZeroWaits, []string{"marker/queue zero"}},
		{reachedEarly, []string{"marker/order"}},
		{reachedLate, []string{"marker/order"}},
		{notifiesTwice, []string{"marker/queue zero", "marker/notify", "marker/failed queue", "marker/concurrent"}},
		{notifiesEarly, []string{"marker/notify", "marker/failed queue"}},
		{losesWaiters, []string{"marker/queue zero", "marker/notify", "marker/failed queue"}},
		{losesCounts, []string{"marker/concurrent"}},
		{hidesFailure, []string{"marker/failed queue"}},
		{takesAnyQueue, []string{"marker/unknown queue"}},
		{runsBackwards, []string{"modeler/time"}},
	} {
		t.Run(string(c.bug), func(t *testing.T) {
			for _, name := range c.caught {
				catch(t, name, newBroken(t, c.bug))
			}
		})
	}
	t.Run("dirty segments", func(t *testing.T) {
		d, err := host.Open()
		require.NoError(t, err)
		catch(t, "segmenter/contents", scribbler{d, d})
	})
	t.Run("dirty pages", func(t *testing.T) {
		d, err := host.Open()
		require.NoError(t, err)
		p, ok := metal.Device(d).(metal.Pager)
		if !ok {
			seen["pager/contents"] = true
			t.Skip("this system's host device maps no pages")
		}
		catch(t, "pager/contents", pageScribbler{d, p})
	})

	for _, c := range checks {
		require.True(t, seen[c.name], "%s was never seen to fail", c.name)
	}
}

// TestRightDevicePasses: it is the bug, not the wrapping, that is caught above.
func TestRightDevicePasses(t *testing.T) {
	for _, c := range checks {
		r := judge(c, newBroken(t, noBug))
		require.False(t, r.Failed(), "%s: %v", c.name, r.log)
	}
}

// TestRefusedWiringIsSkipped: a system that lets nothing be wired is no fault of
// the device.
func TestRefusedWiringIsSkipped(t *testing.T) {
	for _, name := range []string{"wirer/pages", "wirer/segments"} {
		d, err := sim.New(sim.Config{WireLimit: 1})
		require.NoError(t, err)
		r := judge(checkNamed(t, name), d)
		require.False(t, r.Failed(), "%s: %v", name, r.log)
		require.True(t, r.skipped, name)
	}
}

// TestLackingCapabilitiesAreSkipped: what a device can't do isn't held against it.
func TestLackingCapabilitiesAreSkipped(t *testing.T) {
	for _, c := range checks {
		full, err := sim.New(sim.Config{})
		require.NoError(t, err)
		r := judge(c, struct {
			metal.Device
			metal.Pager
		}{full, full})
		require.False(t, r.Failed(), "%s: %v", c.name, r.log)
		only := !slices.ContainsFunc(c.needs, func(n capability) bool { return n != pager && n != aliases })
		require.Equal(t, !only, r.skipped, c.name)
	}
}
