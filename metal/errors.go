package metal

import "errors"

// The errors a device can give. Each stands for a different remedy; a device
// wraps them with its own code and text, so ask with errors.Is.
var (
	// ErrOutOfMemory: the device has no more. Free something, or reclaim.
	ErrOutOfMemory = errors.New("out of device memory")
	// ErrTooLarge: over the device's largest buffer. Split the request.
	ErrTooLarge = errors.New("larger than the device's largest buffer")
	// ErrInvalidSize: negative, overflowing or misaligned. A bug at the caller.
	ErrInvalidSize = errors.New("invalid size")
	// ErrUnknownHandle: a handle, range, segment or queue that is not this
	// device's, or was given back already. A bug at the caller.
	ErrUnknownHandle = errors.New("unknown handle")
	// ErrLimitExceeded: a policy or a system limit said no, not the device.
	ErrLimitExceeded = errors.New("limit exceeded")
	// ErrUnsupported: this device or platform can't do it.
	ErrUnsupported = errors.New("unsupported")
	// ErrBusy: in use right now (memory still taken, a queue being captured).
	ErrBusy = errors.New("busy")
	// ErrDeviceLost: the device is gone; nothing but closing is left.
	ErrDeviceLost = errors.New("device lost")
	// ErrClosed: closed before this call.
	ErrClosed = errors.New("closed")
)
