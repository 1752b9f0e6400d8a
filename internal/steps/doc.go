// Package steps has the atomics and the mutex of the runtime's lock-free
// protocols. In a normal build they are sync's and cost nothing. Built with the
// tag simatomics, each operation on them first calls what [Preempt] was given: a
// simulated schedule switches goroutines there, a stress test waits at random.
//
// A critical section of [Mutex] may contain steps but no wait.
package steps
