package torch

import (
	"fmt"
	"math/big"

	"github.com/nlpodyssey/gopickle/types"
)

// dict is a Python dict reduced to the keys that matter here. A missing key and
// one with the value None are both nil.
type dict struct {
	action, addr, size, stream, timeUS any // of an event
	deviceTraces                       any // of the snapshot
}

// Set implements gopickle's types.DictSetter. The last value of a key counts.
func (d *dict) Set(key, value any) {
	name, _ := key.(string)
	switch name {
	case "action":
		d.action = value
	case "addr":
		d.addr = value
	case "size":
		d.size = value
	case "stream":
		d.stream = value
	case "time_us":
		d.timeUS = value
	case "device_traces":
		d.deviceTraces = value
	}
}

// list is a Python list.
type list struct{ items []any }

// Append implements gopickle's types.ListAppender.
func (l *list) Append(v any) { l.items = append(l.items, v) }

// asInt64 takes a Python int.
func asInt64(v any) (int64, error) {
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case *big.Int:
		if v.IsInt64() {
			return v.Int64(), nil
		}
		return 0, fmt.Errorf("an int of %d bits, want at most 63 and a sign", v.BitLen())
	}
	return 0, fmt.Errorf("%s, want an int", describe(v))
}

// asSize takes a Python int that is not negative.
func asSize(v any) (int64, error) {
	n, err := asInt64(v)
	if err == nil && n < 0 {
		err = fmt.Errorf("%d, want 0 or more", n)
	}
	return n, err
}

// asAddress takes a Python int that is not negative and fits in 64 bits.
func asAddress(v any) (uint64, error) {
	if b, ok := v.(*big.Int); ok && b.IsUint64() {
		return b.Uint64(), nil
	}
	n, err := asSize(v)
	return uint64(n), err
}

// asHandle takes a stream's handle: a pointer that PyTorch gives as a signed
// number, so a negative one stands for its bits.
func asHandle(v any) (uint64, error) {
	if b, ok := v.(*big.Int); ok && b.IsUint64() {
		return b.Uint64(), nil
	}
	n, err := asInt64(v)
	return uint64(n), err
}

// describe says what a value is, short enough for an error.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case bool:
		return fmt.Sprintf("the bool %t", v)
	case int:
		return fmt.Sprintf("the int %d", v)
	case *big.Int:
		return fmt.Sprintf("an int of %d bits", v.BitLen())
	case float64:
		return fmt.Sprintf("the float %g", v)
	case string:
		if len(v) > 40 {
			return fmt.Sprintf("the str %q…", v[:40])
		}
		return fmt.Sprintf("the str %q", v)
	case *dict:
		return "a dict"
	case *list:
		return fmt.Sprintf("a list of %d", len(v.items))
	case *types.Tuple:
		return fmt.Sprintf("a tuple of %d", v.Len())
	}
	return "bytes"
}
