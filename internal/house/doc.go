// Package house holds the rules of this repository as tests: which package may
// import which, and that each one says what it is for. It contains no code.
package house
