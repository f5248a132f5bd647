// Package hardeningtest holds the components that harden an image and look how well,
// stig-build-linux and compliance-scan, to what docs/hardening.md says of them: on
// images that are built, booted and scanned as those of recipes are. It has no code.
// What the documents say of themselves is tested in package gallery.
//
// TestHardenedTwice runs with the tests of the gallery, TestLevels with `make
// compliance` alone.
package hardeningtest
