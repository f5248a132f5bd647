// Package wine runs the Windows tests of other packages with Wine, on Linux. It
// contains no code: what is tested, and how, is said in the packages' files that
// end in _windows_test.go.
package wine
