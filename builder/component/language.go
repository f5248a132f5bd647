package component

import "math"

// Language is what can be said of the language as data, beside its actions. Checks
// are made by the parser; this is for those who describe it.
type Language struct {
	// Operators are those of conditions, each with the key that its second operand has,
	// or nothing. They are matched whatever their case.
	Operators map[string]string
	OnFailure []string // the first is the default
	Verdicts  []string // of then and else

	StoredList  string   // a regular expression: text that forEach takes for a list of the parameter store
	Delimiters  []string // of forEach, \n and \t also as they look in plain text
	NamePattern string   // of parameters and constants
	MinName     int      // characters of such a name
	MaxName     int
	Permissions string // a regular expression

	DefaultTimeout int   // seconds
	MaxTimeout     int64 // seconds
	MaxAttempts    int
	MinCount       int64 // of start, end and updateBy
	MaxCount       int64
}

// Describe returns the language as this package reads it.
func Describe() Language {
	return Language{
		Operators:  operators(),
		OnFailure:  []string{string(Abort), string(Continue), string(Ignore)},
		Verdicts:   []string{string(VerdictExecute), string(VerdictSkip), string(VerdictAbort)},
		StoredList: storedList.String(),
		Delimiters: []string{",", ".", ";", ":", "\n", "\t", " ", "-", "_", `\n`, `\t`},

		NamePattern: legalName.String(), MinName: minNameLength, MaxName: maxNameLength, Permissions: octal.String(),

		DefaultTimeout: defaultTimeout, MaxTimeout: maxTimeout, MaxAttempts: maxAttempts,
		MinCount: math.MinInt32, MaxCount: math.MaxInt32,
	}
}
