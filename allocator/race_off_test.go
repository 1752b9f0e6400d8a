//go:build !race

package allocator_test

const race = false
