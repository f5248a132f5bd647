package calendar

import (
	"strings"
	"testing"
	"time"
)

// at reads a time with its zone: 2026-03-29 01:59 +0100.
func at(t testing.TB, s string) time.Time {
	t.Helper()
	out, err := time.Parse("2006-01-02 15:04 -0700", s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNext(t *testing.T) {
	for _, tt := range []struct {
		name, cron, zone, after string
		want                    []string // one after the other; empty: never
	}{
		{"every day in UTC", "0 3 * * *", "", "2026-01-01 03:00 +0000", []string{"2026-01-02 03:00 +0000", "2026-01-03 03:00 +0000"}},
		{"Sundays in Rome", "0 3 * * SUN", "Europe/Rome", "2026-01-01 00:00 +0100", []string{"2026-01-04 03:00 +0100", "2026-01-11 03:00 +0100"}},
		{"a name", "@monthly", "America/New_York", "2026-02-10 00:00 -0500", []string{"2026-03-01 00:00 -0500", "2026-04-01 00:00 -0400"}},
		{"leap day", "0 0 29 2 *", "UTC", "2026-01-01 00:00 +0000", []string{"2028-02-29 00:00 +0000"}},
		{"never", "0 0 30 2 *", "UTC", "2026-01-01 00:00 +0000", []string{""}},

		// Rome jumps from 02:00 to 03:00 on 29 March and goes back from 03:00 to 02:00 on 25 October.
		{"Rome, skipped", "30 2 * * *", "Europe/Rome", "2026-03-28 02:30 +0100", []string{"2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"}},
		{"Rome, beside what is skipped", "0 3 * * *", "Europe/Rome", "2026-03-28 03:00 +0100", []string{"2026-03-29 03:00 +0200", "2026-03-30 03:00 +0200"}},
		{"Rome, two times skipped into one", "0,30 2 * * *", "Europe/Rome", "2026-03-28 02:30 +0100", []string{"2026-03-29 03:00 +0200", "2026-03-30 02:00 +0200"}},
		{"Rome, repeated", "30 2 * * *", "Europe/Rome", "2026-10-24 02:30 +0200", []string{"2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"}},
		{"Rome, asked between the repetitions", "30 2 * * *", "Europe/Rome", "2026-10-25 02:45 +0200", []string{"2026-10-26 02:30 +0100"}},
		{"Rome, asked in the repetition", "30 2 * * *", "Europe/Rome", "2026-10-25 02:15 +0100", []string{"2026-10-26 02:30 +0100"}},
		{"Rome, after the repetition", "0 3 * * *", "Europe/Rome", "2026-10-25 02:59 +0200", []string{"2026-10-25 03:00 +0100"}},
		{"Rome, often, spring", "*/30 * * * *", "Europe/Rome", "2026-03-29 01:30 +0100", []string{"2026-03-29 03:00 +0200", "2026-03-29 03:30 +0200"}},
		{"Rome, often, autumn", "*/30 * * * *", "Europe/Rome", "2026-10-25 02:00 +0200", []string{"2026-10-25 02:30 +0200", "2026-10-25 02:00 +0100", "2026-10-25 02:30 +0100", "2026-10-25 03:00 +0100"}},

		// New York: 8 March and 1 November, at 02:00.
		{"New York, skipped", "30 2 * * *", "America/New_York", "2026-03-07 12:00 -0500", []string{"2026-03-08 03:00 -0400", "2026-03-09 02:30 -0400"}},
		{"New York, repeated", "30 1 * * *", "America/New_York", "2026-10-31 12:00 -0400", []string{"2026-11-01 01:30 -0400", "2026-11-02 01:30 -0500"}},

		// Lord Howe moves by half an hour: 02:00 to 02:30 on 4 October, 02:00 to 01:30 on 5 April.
		{"Lord Howe, skipped", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00 +1030", []string{"2026-10-04 02:30 +1100", "2026-10-05 02:15 +1100"}},
		{"Lord Howe, repeated", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00 +1100", []string{"2026-04-05 01:45 +1100", "2026-04-06 01:45 +1030"}},
		{"Lord Howe, not repeated", "15 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00 +1100", []string{"2026-04-05 01:15 +1100", "2026-04-06 01:15 +1030"}},

		// Apia left out 30 December 2011 altogether.
		{"a day that was not", "0 12 30 12 *", "Pacific/Apia", "2011-12-01 00:00 -1000", []string{"2011-12-31 00:00 +1400", "2012-12-30 12:00 +1400"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := at(t, tt.after)
			for _, want := range tt.want {
				got, err := Schedule{tt.cron, tt.zone}.Next(now)
				if err != nil {
					t.Fatal(err)
				}
				if want == "" {
					if !got.IsZero() {
						t.Fatalf("Next(%v) = %v, want never", now, got)
					}
					continue
				}
				if !got.Equal(at(t, want)) {
					t.Fatalf("Next(%v) = %v, want %v", now, got, at(t, want).UTC())
				}
				now = got
			}
		})
	}
}

func TestNextRefuses(t *testing.T) {
	for _, tt := range []struct{ cron, zone, want string }{
		{"often", "", `cron "often"`},
		{"* * * *", "", "cron"},
		{"61 * * * *", "", "cron"},
		{"0 3 * * *", "Europe/Atlantis", `timezone "Europe/Atlantis" is not known`},
		{"0 3 * * *", "Local", `timezone "Local" is not known`},
		{"0 3 * * *", "../../etc/passwd", "is not known"},
		{"CRON_TZ=Europe/Rome 0 3 * * *", "", "the time zone is a field of its own"},
		{"@every 1h", "", "@every has no place"},
	} {
		_, err := Schedule{tt.cron, tt.zone}.Next(time.Unix(0, 0))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Next of %q in %q: %v, want an error with %q", tt.cron, tt.zone, err, tt.want)
		}
	}
}

func TestDue(t *testing.T) {
	daily := Schedule{"0 3 * * *", "UTC"}
	for _, tt := range []struct {
		name, lastRun, now string // lastRun empty: never
		due                bool
		at                 string
	}{
		{"never seen", "", "2026-01-02 03:00 +0000", false, "2026-01-03 03:00 +0000"},
		{"not yet", "2026-01-01 03:00 +0000", "2026-01-02 02:59 +0000", false, "2026-01-02 03:00 +0000"},
		{"now", "2026-01-01 03:00 +0000", "2026-01-02 03:00 +0000", true, "2026-01-02 03:00 +0000"},
		{"late", "2026-01-01 03:00 +0000", "2026-01-02 15:00 +0000", true, "2026-01-02 03:00 +0000"},
		{"ten missed", "2026-01-01 03:00 +0000", "2026-01-11 15:00 +0000", true, "2026-01-02 03:00 +0000"},
		{"made up for", "2026-01-11 15:00 +0000", "2026-01-11 15:01 +0000", false, "2026-01-12 03:00 +0000"},
		{"clock a little back", "2026-01-02 03:00 +0000", "2026-01-02 02:50 +0000", false, "2026-01-03 03:00 +0000"},
		{"clock far back", "2027-01-02 03:00 +0000", "2026-01-02 02:50 +0000", false, "2026-01-02 03:00 +0000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var last time.Time
			if tt.lastRun != "" {
				last = at(t, tt.lastRun)
			}
			due, when, err := daily.Due(last, at(t, tt.now))
			if err != nil || due != tt.due || !when.Equal(at(t, tt.at)) {
				t.Errorf("Due = %v, %v, %v; want %v, %v", due, when, err, tt.due, tt.at)
			}
		})
	}
}

// Whatever the schedule and the moment: the next time comes later, and asking
// again from just before it finds it again.
func FuzzNext(f *testing.F) {
	f.Add("30 2 * * *", "Europe/Rome", int64(1774747800))
	f.Add("*/15 * * * *", "Australia/Lord_Howe", int64(1790000000))
	f.Add("0 0 31 * 1", "Pacific/Apia", int64(1325160000))
	f.Fuzz(func(t *testing.T, cron, zone string, seconds int64) {
		if seconds < 0 || seconds > 4e9 {
			return
		}
		s := Schedule{cron, zone}
		after := time.Unix(seconds, 0)
		next, err := s.Next(after)
		if err != nil || next.IsZero() {
			return
		}
		if !next.After(after) {
			t.Fatalf("%q in %q: after %v comes %v", cron, zone, after.UTC(), next)
		}
		if again, err := s.Next(next.Add(-time.Second)); err != nil || !again.Equal(next) {
			t.Fatalf("%q in %q: after %v comes %v, but a second before that, %v (%v)", cron, zone, after.UTC(), next, again, err)
		}
	})
}
