package recipe

// Version is x.y.z, as its author raises it; each node is 0 … 2^30−1.
type Version struct{ Major, Minor, Patch int }
