package sim

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
)

// everyCall makes each kind of call once and returns the errors by call.
func everyCall(d *Device) map[Call]error {
	errs := map[Call]error{}
	r, err := d.Reserve(page)
	errs[CallReserve] = err
	h, err := d.Create(page)
	errs[CallCreate] = err
	errs[CallMap] = d.Map(r, 0, []metal.Handle{h})
	errs[CallWire] = d.Wire(r.Addr, page)
	errs[CallUnwire] = d.Unwire(r.Addr, page)
	errs[CallUnmap] = d.Unmap(r, 0, page)
	errs[CallRelease] = d.Release(h)
	errs[CallUnreserve] = d.Unreserve(r)
	s, err := d.Alloc(1)
	errs[CallAlloc] = err
	errs[CallFree] = d.Free(s)
	return errs
}

func TestCallsAreCountedAndHooked(t *testing.T) {
	d := openDevice(t, Config{})
	var hooked []Call
	d.Hook(func(c Call) {
		hooked = append(hooked, c)
		_ = d.Calls() // outside any lock
	})
	for call, err := range everyCall(d) {
		require.NoError(t, err, call)
	}
	order := []Call{CallReserve, CallCreate, CallMap, CallWire, CallUnwire, CallUnmap, CallRelease, CallUnreserve, CallAlloc, CallFree}
	require.Equal(t, order, hooked)
	for _, c := range order {
		require.EqualValues(t, 1, d.Calls()[c], c)
	}
	d.Hook(nil)
	everyCall(d)
	require.Len(t, hooked, len(order))
	require.EqualValues(t, 2, d.Calls()[CallMap])
}

func TestHookMakesACallSlow(t *testing.T) {
	d := openDevice(t, Config{})
	started, goOn := make(chan struct{}), make(chan struct{})
	d.Hook(func(c Call) {
		if c == CallCreate {
			close(started)
			<-goOn
		}
	})
	created := make(chan error)
	go func() {
		_, err := d.Create(page)
		created <- err
	}()
	<-started
	u, err := d.Usage() // others go on meanwhile
	require.NoError(t, err)
	require.Zero(t, u.Taken)
	_, err = d.Alloc(1)
	require.NoError(t, err)
	close(goOn)
	require.NoError(t, <-created)
}

func TestFailNext(t *testing.T) {
	cause := errors.New("cosmic ray")
	for call := range everyCall(openDevice(t, Config{})) {
		d := openDevice(t, Config{})
		for c, err := range everyCall(d) {
			require.NoError(t, err, c)
		}
		d.FailNext(call, 1, cause)
		require.ErrorIs(t, everyCall(d)[call], cause)
		require.EqualValues(t, 2, d.Calls()[call], "the call that failed is counted")
	}
}

func TestFailNextCountsCallsOfItsKind(t *testing.T) {
	first, third := errors.New("first"), errors.New("third")
	d := openDevice(t, Config{})
	d.FailNext(CallCreate, 3, third)
	d.FailNext(CallCreate, 1, first)
	d.FailNext(CallAlloc, 0, nil)
	create := func() error {
		_, err := d.Create(page)
		return err
	}
	require.ErrorIs(t, create(), first)
	require.NoError(t, create())
	_, err := d.Alloc(1)
	require.ErrorIs(t, err, metal.ErrOutOfMemory, "0 is the next one, nil is out of memory")
	require.ErrorIs(t, create(), third)
	require.NoError(t, create())
	u, err := d.Usage()
	require.NoError(t, err)
	require.EqualValues(t, 2*page, u.Taken, "what failed took nothing")

	d.FailNext(CallCreate, 1, first)
	d.FailNext(CallCreate, 1, third)
	require.ErrorIs(t, create(), first)
	require.NoError(t, create(), "the second plan for the same call is used up")
}

func TestPanicNext(t *testing.T) {
	d := openDevice(t, Config{})
	d.PanicNext(CallCreate, 2)
	_, err := d.Create(page)
	require.NoError(t, err)
	require.Panics(t, func() { _, _ = d.Create(page) })
	h, err := d.Create(page)
	require.NoError(t, err, "the device goes on")
	require.NoError(t, d.Release(h))
}
