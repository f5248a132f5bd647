// Package calendar knows when a cron schedule is due.
//
// Next and Due are pure. A Loop waits for the next due time of many entries and
// fires them; what ran when is kept by its owner, so that nothing depends on the
// process having been up: a run that was missed, or ten of them, is made up for
// once.
//
// Schedules follow the clock on the wall of their time zone. A time that the
// change to summer time skips happens when the clock jumps; a time that the change
// back repeats happens the first time only. Schedules that name no hour, such as
// "*/15 * * * *", follow the time that passes.
package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the host may know no time zones: small containers do not

	"github.com/robfig/cron/v3"
)

// setBack is by how much a clock may go backwards without a run being repeated.
const setBack = time.Hour

const everyHour = 1<<24 - 1

// Schedule is a cron expression in a time zone. It can be compared and copied.
type Schedule struct {
	Cron     string // five fields, or a name such as @daily
	Timezone string // IANA name; empty: UTC
}

// Next returns the first time after a given one at which the schedule is due. The
// zero time means never: the 30th of February.
func (s Schedule) Next(after time.Time) (time.Time, error) {
	next, err := s.parse()
	if err != nil {
		return time.Time{}, err
	}
	return next(after), nil
}

// Due reports whether a schedule that last ran at lastRun has to run now, and since
// when; otherwise at is when it will be. A schedule that has never run counts from
// now on. So does one that ran in the future, by more than an hour: the clock was
// set back.
//
// However many runs were missed, one makes up for all: the next lastRun is now.
func (s Schedule) Due(lastRun, now time.Time) (due bool, at time.Time, err error) {
	if lastRun.IsZero() || lastRun.Sub(now) > setBack {
		lastRun = now
	}
	at, err = s.Next(lastRun)
	return err == nil && !at.IsZero() && !at.After(now), at, err
}

// parse checks the schedule and returns its function of time.
func (s Schedule) parse() (func(after time.Time) time.Time, error) {
	zone, err := time.LoadLocation(s.Timezone) // empty: UTC
	if err != nil || s.Timezone == "Local" {
		return nil, fmt.Errorf("timezone %q is not known: an IANA name such as Europe/Rome is expected", s.Timezone)
	}
	if strings.Contains(s.Cron, "TZ=") {
		return nil, fmt.Errorf("cron %q: the time zone is a field of its own", s.Cron)
	}
	parsed, err := cron.ParseStandard(s.Cron)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w", s.Cron, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("cron: @every has no place in a calendar; give the minutes and hours, as in \"0 */6 * * *\"")
	}
	spec.Location = time.UTC // its own idea of time zones skips runs, and can search forever
	if spec.Hour&everyHour == everyHour {
		return func(after time.Time) time.Time { return nextInTime(spec, zone, after) }, nil
	}
	return func(after time.Time) time.Time { return nextOnWall(spec, zone, after) }, nil
}

// nextInTime finds the next due time of a schedule for every hour: between two
// changes of the clock on the wall, that clock is a fixed distance from UTC.
func nextInTime(spec *cron.SpecSchedule, zone *time.Location, after time.Time) time.Time {
	from := wallClock(after.In(zone))
	for {
		local := after.In(zone)
		wall := spec.Next(from)
		if wall.IsZero() {
			return time.Time{}
		}
		_, offset := local.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second)
		_, end := local.ZoneBounds()
		if end.IsZero() || at.Before(end) {
			return at
		}
		after, from = end, wallClock(end.In(zone)).Add(-time.Second)
	}
}

// nextOnWall finds the next due time on the clock on the wall, which is a time in
// UTC here so that it neither jumps nor repeats, and then the moment that it names.
func nextOnWall(spec *cron.SpecSchedule, zone *time.Location, after time.Time) time.Time {
	wall := wallClock(after.In(zone)).Add(-24 * time.Hour) // earlier than any repetition
	for {
		wall = spec.Next(wall)
		if wall.IsZero() {
			return time.Time{}
		}
		if at := moment(wall, zone); at.After(after) {
			return utc(at)
		}
	}
}

// wallClock is what the clock shows, as a time in UTC.
func wallClock(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment returns when the clock shows this: the first time if it does so twice,
// and when it jumps if it never does.
func moment(wall time.Time, zone *time.Location) time.Time {
	_, before := wall.Add(-24 * time.Hour).In(zone).Zone()
	_, after := wall.Add(24 * time.Hour).In(zone).Zone()
	early := wall.Add(-time.Duration(max(before, after)) * time.Second).In(zone)
	late := wall.Add(-time.Duration(min(before, after)) * time.Second).In(zone)
	switch {
	case wallClock(early).Equal(wall):
		return early
	case wallClock(late).Equal(wall):
		return late
	}
	jump, _ := late.ZoneBounds()
	return jump
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}
