// Package actors is metalloc's runtime: a supervisor with the books and limits, a
// metal actor that does all device work, and an actor for each stream with a cache
// of its own. Programs use package allocator, which is these types under other
// names; programs that are built of actors themselves send the messages of this
// package to a stream's PID or the supervisor's.
//
// A caller that finds an actor idle takes its turn on its own goroutine, so that
// a malloc from the cache costs no switch; otherwise it posts and waits. No turn
// is held across a device call or a wait, and nothing of the program's (loggers,
// pressure hooks) runs inside one. What can't be served in one turn is a ticket:
// see its stages in ticket.go. docs/design.md tells the rest.
package actors
