package main

import (
	"github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/local"
	"github.com/seed-6db18919/ingot/builder/local/disk"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// parentAliases are the parent images that recipes name without an address. The
// same name means another image with another driver: debian-12 is a disk that
// ingot makes, or Debian's own AMI.
func parentAliases() map[string][]recipe.Alias {
	var onDisk, onEC2 []recipe.Alias
	for _, name := range disk.Aliases() {
		onDisk = append(onDisk, recipe.Alias{Name: name})
	}
	for _, a := range catalogue.Aliases() {
		onEC2 = append(onEC2, recipe.Alias{Name: a.Name, Platform: a.Platform, Notice: a.Notice})
	}
	return map[string][]recipe.Alias{
		local.Name:     onDisk,
		ec2.Name:       onEC2,
		"imagebuilder": onEC2,
	}
}
