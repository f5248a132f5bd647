package recipe

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

type schedule struct {
	Cron           text `yaml:"cron,required" example:"\"0 3 * * SUN\""`
	Timezone       text `yaml:"timezone"`
	StartCondition text `yaml:"startCondition"`
}

func (r *reading) schedule(source *schedule) {
	if source == nil {
		return
	}
	s := &Schedule{
		Timezone:       "UTC",
		StartCondition: StartCondition(r.oneOf(source.StartCondition, "startCondition", string(DependencyUpdates), string(Always))),
	}
	if zone := source.Timezone; zone.Node != nil {
		s.Timezone = zone.Value
		if _, err := loadZone(zone.Value); err != nil {
			r.bad(zone.Node, "expected an IANA name such as Europe/Rome", "unknown time zone %q", shorten(zone.Value))
		}
	}
	if line := source.Cron; line.Node != nil {
		spec, err := normalizeCron(shorten(line.Value))
		if err != nil {
			r.bad(line.Node, `expected five fields such as "0 3 * * SUN", @daily, cron(…) or rate(1 day)`, "%q is not a schedule: %v", shorten(line.Value), err)
		}
		s.Cron = spec
	}
	r.recipe.Schedule = s
}

// loadZone is time.LoadLocation without its special names: "" and "Local" would
// mean something else on every machine.
func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	return time.LoadLocation(name)
}

// Next returns the first time after a moment at which the schedule is due.
func (s Schedule) Next(after time.Time) (time.Time, error) {
	zone, err := loadZone(s.Timezone)
	if err != nil {
		return time.Time{}, err
	}
	calendar, err := cron.ParseStandard(s.Cron)
	if err != nil {
		return time.Time{}, err
	}
	return calendar.Next(after.In(zone)), nil
}

var wrapped = regexp.MustCompile(`^(cron|rate)\((.*)\)$`)

// normalizeCron accepts what crontab, robfig/cron and Image Builder write, and
// returns what robfig/cron's standard parser reads.
func normalizeCron(text string) (string, error) {
	spec := strings.TrimSpace(text)
	match := wrapped.FindStringSubmatch(spec)
	fields := strings.Fields(spec)
	var err error
	switch {
	case strings.Contains(spec, "="):
		return "", fmt.Errorf("the time zone belongs into the key timezone")
	case match != nil && match[1] == "rate":
		spec, err = fromRate(match[2])
	case match != nil:
		spec, err = fromSixFields(strings.Fields(match[2]))
	case len(fields) == 6 && !strings.HasPrefix(spec, "@"):
		spec, err = fromSixFields(fields)
	}
	if err != nil {
		return "", err
	}
	return spec, checkCron(spec)
}

// checkCron refuses what does not parse, never happens, or happens all the time.
func checkCron(spec string) error {
	calendar, err := cron.ParseStandard(spec)
	if err != nil {
		return err
	}
	start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	first := calendar.Next(start)
	if first.IsZero() {
		return fmt.Errorf("it never happens")
	}
	if calendar.Next(first).Sub(first) < time.Minute {
		return fmt.Errorf("it is due more than once a minute")
	}
	return nil
}

var rate = regexp.MustCompile(`^\s*([1-9][0-9]{0,5}) (minute|hour|day)(s?)\s*$`)

func fromRate(text string) (string, error) {
	match := rate.FindStringSubmatch(text)
	if match == nil || (match[1] == "1") != (match[3] == "") {
		return "", fmt.Errorf("a rate is written 1 day, or 12 hours")
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		return "", err
	}
	switch match[2] {
	case "day":
		return fmt.Sprintf("@every %dh", 24*n), nil
	default:
		return fmt.Sprintf("@every %d%s", n, match[2][:1]), nil
	}
}

// fromSixFields translates minute, hour, day, month, weekday and year as Image
// Builder reads them: weekdays count from 1 on Sunday, and ? leaves a field open.
func fromSixFields(fields []string) (string, error) {
	if len(fields) != 6 {
		return "", fmt.Errorf("six fields are needed, this has %d", len(fields))
	}
	day, weekday, year := fields[2], fields[4], fields[5]
	switch {
	case year != "*":
		return "", fmt.Errorf("a year other than * is not supported")
	case strings.ContainsAny(day, "LWlw"):
		return "", fmt.Errorf("the day field has L or W, which is not supported")
	case strings.Contains(weekday, "#"), lastWeekday.MatchString(weekday):
		return "", fmt.Errorf("the weekday field has L or #, which is not supported")
	}
	weekday, err := weekdaysFromZero(weekday)
	if err != nil {
		return "", err
	}
	return strings.Join([]string{fields[0], fields[1], openField(day), fields[3], openField(weekday)}, " "), nil
}

var (
	lastWeekday = regexp.MustCompile(`(?i)(^|[0-9,])L`)
	number      = regexp.MustCompile(`[0-9]+`)
)

func openField(field string) string {
	if field == "?" {
		return "*"
	}
	return field
}

// weekdaysFromZero lowers the numbers of a weekday field by one; the number after
// a slash is a step and stays.
func weekdaysFromZero(field string) (string, error) {
	var err error
	parts := strings.Split(field, ",")
	for i, part := range parts {
		days, step, stepped := strings.Cut(part, "/")
		days = number.ReplaceAllStringFunc(days, func(digits string) string {
			n, atoi := strconv.Atoi(digits)
			if atoi != nil || n < 1 || n > 7 {
				err = fmt.Errorf("weekday %s: days count from 1 (Sunday) to 7 with six fields", digits)
			}
			return strconv.Itoa(n - 1)
		})
		if parts[i] = days; stepped {
			parts[i] = days + "/" + step
		}
	}
	return strings.Join(parts, ","), err
}
