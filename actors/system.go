package actors

import (
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
)

// PID and System are protoactor's: this package is the only one of ours that
// imports it.
type (
	// PID is an actor's address.
	PID = actor.PID
	// System is what actors live in. One costs about 2.5 MiB, so a process should
	// have one; several runtimes can share it.
	System = actor.ActorSystem
)

// NewSystem makes an actor system that logs to log instead of stderr.
func NewSystem(log *zap.Logger) *System {
	return actor.NewActorSystem(
		actor.WithLoggerFactory(func(s *actor.ActorSystem) *slog.Logger {
			return slog.New(zapslog.NewHandler(log.Core(), zapslog.WithName("actor"))).With("system", s.ID)
		}),
		// Dead letters are freed by us (Core.deadLetter). Their log's throttle keeps a
		// goroutine for this long, and nothing of ours should outlive Close for long.
		actor.WithDeadLetterThrottleInterval(10*time.Millisecond))
}
