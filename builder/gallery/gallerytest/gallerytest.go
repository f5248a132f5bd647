// Package gallerytest runs the components of the gallery for real: those that build
// in containers on the systems that they are made for, the tests in a machine that
// was booted from an image, on what is right and on what is wrong. It has no code.
// What needs neither container nor machine is tested beside the gallery itself.
package gallerytest
