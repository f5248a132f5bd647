// Package examples embeds the sample recipe repository, for the demonstration
// and for tests. The other folders here are for people to copy from.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed all:recipes
var files embed.FS

// Recipes returns the sample recipe repository.
func Recipes() fs.FS {
	sub, err := fs.Sub(files, "recipes")
	if err != nil {
		panic(err) // the name is a constant of this file
	}
	return sub
}
