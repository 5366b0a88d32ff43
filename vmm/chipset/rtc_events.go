package chipset

import "time"

// catchUp sets the flags of what happened since it was called last.
//
// Preconditions: r.mu is held.
func (r *RTC) catchUp() {
	from, to := r.seen, r.elapsed()
	r.seen = to
	if p := r.period(); p > 0 && from/p != to/p {
		r.flags |= rtcPeriodic
	}
	if r.setting() {
		return
	}
	seconds := int64(to/time.Second - from/time.Second)
	if seconds == 0 {
		return
	}
	r.flags |= rtcUpdate
	if wait, ok := r.untilAlarm(r.at(from)); ok && int64(wait) <= seconds {
		r.flags |= rtcAlarm
	}
}

// nextEvent is how long it takes until the first of the given events.
//
// Preconditions: r.mu is held; the flags are caught up.
func (r *RTC) nextEvent(events byte) (wait time.Duration, ok bool) {
	consider := func(d time.Duration) {
		if !ok || d < wait {
			wait, ok = d, true
		}
	}
	if p := r.period(); p > 0 && events&rtcPeriodic != 0 {
		consider(p - r.seen%p)
	}
	if r.setting() {
		return wait, ok
	}
	toSecond := time.Second - r.seen%time.Second
	if events&rtcUpdate != 0 {
		consider(toSecond)
	}
	if events&rtcAlarm != 0 {
		if seconds, found := r.untilAlarm(r.at(r.seen)); found {
			consider(toSecond + time.Duration(seconds-1)*time.Second)
		}
	}
	return wait, ok
}

// period is that of the periodic interrupt, 0 for none.
//
// Preconditions: r.mu is held.
func (r *RTC) period() time.Duration {
	rate := int(r.ram[0][rtcA] & rtcRate)
	if r.ram[0][rtcA]&rtcDivider != rtcDividerRun || rate == 0 {
		return 0
	}
	if rate <= 2 {
		rate += 7 // the two fastest rates are not to be had from this crystal
	}
	return time.Second >> (16 - rate)
}

// untilAlarm is how many seconds after t, at least one, the alarm matches; ok is
// false if it never does.
//
// Preconditions: r.mu is held.
func (r *RTC) untilAlarm(t time.Time) (seconds int, ok bool) {
	const day, hour, minute = 24 * 60 * 60, 60 * 60, 60
	matches := func(i, v int) bool {
		b := r.ram[0][i]
		if b >= 0xC0 {
			return true // any
		}
		if i == rtcAlarmHours {
			return r.fromHour(v) == b
		}
		return r.fromInt(v) == b
	}
	start := t.Hour()*hour + t.Minute()*minute + t.Second()
	for d := 1; d <= day; {
		now := (start + d) % day
		switch {
		case !matches(rtcAlarmHours, now/hour):
			d += hour - now%hour
		case !matches(rtcAlarmMinutes, now/minute%60):
			d += minute - now%minute
		case !matches(rtcAlarmSeconds, now%minute):
			d++
		default:
			return d, true
		}
	}
	return 0, false
}
