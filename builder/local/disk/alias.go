package disk

// Aliases are the parent images that this package makes, by the names that
// recipes use.
func Aliases() []string { return []string{"debian-12", "debian-13"} }
