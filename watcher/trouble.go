package watcher

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// maxBackoff bounds how long a repository that fails is left alone.
	maxBackoff = 10 * time.Minute
	// logAgain is how often a failure that lasts is logged.
	logAgain = 5 * time.Minute
)

// trouble follows something that is tried again and again: how long to wait after
// failures, and when to speak of them.
type trouble struct {
	failures int
	since    time.Time // of the first failure in a row
	logged   time.Time
}

// failed counts a failure, logs it unless that was done lately, and returns how
// long to wait before the next attempt.
func (t *trouble) failed(now time.Time, interval time.Duration, err error, log logrus.FieldLogger) time.Duration {
	if t.failures == 0 {
		t.since = now
	}
	t.failures++
	wait := backoff(interval, t.failures)
	var e *Error
	if errors.As(err, &e) {
		wait = max(wait, e.RetryAfter)
	}
	if t.failures == 1 || now.Sub(t.logged) >= logAgain {
		t.logged = now
		log.WithError(err).WithFields(logrus.Fields{"failures": t.failures, "next": wait.Round(time.Second).String()}).Warn("cannot be looked at")
	}
	return wait
}

// over notes a success and says so when it ends a row of failures.
func (t *trouble) over(now time.Time, log logrus.FieldLogger) {
	if t.failures > 0 {
		log.WithFields(logrus.Fields{"failures": t.failures, "lasted": now.Sub(t.since).Round(time.Second).String()}).Info("works again")
	}
	*t = trouble{}
}

// backoff doubles the interval with each failure in a row, up to maxBackoff.
func backoff(interval time.Duration, failures int) time.Duration {
	wait := interval
	for range failures {
		if wait *= 2; wait >= maxBackoff {
			break
		}
	}
	return max(min(wait, maxBackoff), interval)
}

// jitter spreads d by a tenth in both directions, so that a thousand repositories
// do not stay in step.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}
