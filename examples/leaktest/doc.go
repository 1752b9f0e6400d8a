// Package leaktest shows what a test that leaks device memory is told. Its leak is
// on purpose, and behind a build tag:
//
//	go test -tags leak ./examples/leaktest
package leaktest
