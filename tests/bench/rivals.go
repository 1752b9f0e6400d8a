package bench

import "github.com/metalloc/metalloc/actors"

// rivals are what is compared; metalloc is one of them.
var rivals = []rival{
	{Metalloc, opens(openMetalloc)},
	{Mutex, opens(openMutex)},
	{packedName, opens(openPacked)},
	{"actor-send", opens(openSend)},
	{"actor-future", opens(openFuture)},
}

// Names of rivals that are asked for by name. Mutex is who the others are compared
// with.
const (
	Metalloc   = "metalloc"
	Mutex      = "mutex"
	packedName = "packed"
)

type rival struct {
	name string
	open func(config, *env) (subject, error)
}

// env is what a rival is opened with.
type env struct {
	system  *actors.System
	streams int
	live    int // blocks that will be live meanwhile
	slow        // of the device
}

func opens[H any](open func(*env) (Allocator[H], error)) func(config, *env) (subject, error) {
	return func(c config, e *env) (subject, error) {
		a, err := open(e)
		if err != nil {
			return nil, err
		}
		return newSubject(c, a), nil
	}
}
