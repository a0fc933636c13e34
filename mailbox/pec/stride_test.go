//go:build !race

package pec

// stride is how far apart the bytes stand that the tests of every byte change.
const stride = 1
