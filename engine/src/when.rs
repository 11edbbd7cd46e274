//! Times as people say them and as actions hold them (`tomorrow 6:30`, `friday 19:00`, `in 2 h`), against the time at
//! which they were said.

use std::fmt;
use std::str::FromStr;

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A minute of local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Days since 1970-01-01.
    day: i64,
    /// Minutes of the day.
    minute: i64,
}

/// A time that was resolved: a minute, or a whole day where no hour was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A minute.
    At(Moment),
    /// A day.
    On(Moment),
}

impl fmt::Display for When {
    /// ISO 8601 without a zone: `2026-11-24T06:30`, or `2026-11-24`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::At(moment) | Self::On(moment)) = self;
        let (year, month, day) = moment.date();
        write!(f, "{year:04}-{month:02}-{day:02}")?;
        match self {
            Self::At(moment) => write!(f, "T{:02}:{:02}", moment.minute / 60, moment.minute % 60),
            Self::On(_) => Ok(()),
        }
    }
}

impl Moment {
    /// From a date and a time; none where there is no such.
    pub fn new(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> Option<Self> {
        let valid = (1..=9999).contains(&year) && (0..24).contains(&hour) && (0..60).contains(&minute);
        let moment = Self { day: days_from_civil(year, month, day), minute: 60 * hour + minute };
        (valid && (1..=12).contains(&month) && moment.date() == (year, month, day)).then_some(moment)
    }
    /// Year, month and day.
    pub fn date(self) -> (i64, i64, i64) {
        civil_from_days(self.day)
    }
    /// Monday is 0.
    fn weekday(self) -> i64 {
        (self.day + 3).rem_euclid(7)
    }
    fn later(self, minutes: i64) -> Self {
        let all = self.day * 1440 + self.minute + minutes;
        Self { day: all.div_euclid(1440), minute: all.rem_euclid(1440) }
    }

    /// How a turn says it to a model: `Mon 2026-11-23 14:05`.
    pub fn told(self) -> String {
        let name = DAYS[self.weekday() as usize];
        let (year, month, day) = self.date();
        let (hour, minute) = (self.minute / 60, self.minute % 60);
        format!("{}{} {year:04}-{month:02}-{day:02} {hour:02}:{minute:02}", name[..1].to_uppercase(), &name[1..3])
    }

    /// What a time in an action means, said at this moment; none where it is no time. An hour without a day is the
    /// next such hour, and one up to eleven without morning or evening the next of its two; a day's name is the next
    /// such day, today left out.
    pub fn resolve(self, text: &str) -> Option<When> {
        let text = text.trim().to_lowercase();
        if let Some(span) = text.strip_prefix("in ") {
            return Some(When::At(self.later(minutes(span)?)));
        }
        let (mut day, mut clock, mut part) = (None, None, None);
        for word in text.split_whitespace() {
            let weekday = DAYS.iter().position(|name| *name == word);
            match word {
                "today" => day = Some(self.day),
                "tonight" => (day, part) = (Some(self.day), Some(20)),
                "tomorrow" => day = Some(self.day + 1),
                "morning" => part = Some(8),
                "noon" => clock = Some(12 * 60),
                "afternoon" => part = Some(15),
                "evening" => part = Some(19),
                "night" => part = Some(21),
                "midnight" => clock = Some(0),
                "on" | "at" | "this" | "next" | "the" => {}
                _ if weekday.is_some() => {
                    let ahead = (weekday? as i64 - self.weekday()).rem_euclid(7);
                    day = Some(self.day + if ahead == 0 { 7 } else { ahead });
                }
                _ => {
                    let (hour, minute) = word.split_once(':')?;
                    let (hour, minute) = (hour.parse::<i64>().ok()?, minute.parse::<i64>().ok()?);
                    if !(0..24).contains(&hour) || !(0..60).contains(&minute) {
                        return None;
                    }
                    clock = Some(60 * hour + minute);
                }
            }
        }
        let at = |day: i64, minute: i64| When::At(Self { day, minute });
        // Half a day later, where evening was said and the hour is of the morning.
        let late = |minute: i64| if part.is_some_and(|p| p >= 15) && minute < 720 { minute + 720 } else { minute };
        match (day, clock) {
            (Some(day), Some(minute)) => Some(at(day, late(minute))),
            (Some(day), None) => Some(part.map_or(When::On(Self { day, minute: 0 }), |hour| at(day, 60 * hour))),
            (None, Some(minute)) if part.is_some() => {
                let minute = late(minute);
                Some(at(self.day + i64::from(minute <= self.minute), minute))
            }
            (None, Some(minute)) => {
                let twice = (1..=11).contains(&(minute / 60));
                let halves = [minute % 720, minute % 720 + 720];
                let times = if twice { halves.to_vec() } else { vec![minute] };
                let next = times.iter().copied().find(|&m| m > self.minute);
                Some(next.map_or_else(|| at(self.day + 1, times[0]), |m| at(self.day, m)))
            }
            (None, None) => part.map(|hour| at(self.day + i64::from(60 * hour <= self.minute), 60 * hour)),
        }
    }
}

impl FromStr for Moment {
    type Err = ();
    /// From `Mon 2026-11-23 14:05`, `2026-11-23 14:05` or `2026-11-23T14:05`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split([' ', 'T']).filter(|p| !p.is_empty() && !p.starts_with(char::is_alphabetic));
        let (date, clock) = (parts.next().ok_or(())?, parts.next().ok_or(())?);
        let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok()).ok_or(());
        let (mut date, mut clock) = (date.split('-'), clock.split(':'));
        let [year, month, day] = [number(date.next())?, number(date.next())?, number(date.next())?];
        let [hour, minute] = [number(clock.next())?, number(clock.next())?];
        Self::new(year, month, day, hour, minute).ok_or(())
    }
}

/// `10 min`, `1 h 30 min`, `2 days` in minutes; seconds count as a minute begun.
fn minutes(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (pairs, rest) = words.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return None;
    }
    let mut sum = 0i64;
    for [count, unit] in pairs {
        let count = count.parse::<u32>().ok().map(i64::from)?;
        sum += match *unit {
            "s" => (count + 59) / 60,
            "min" => count,
            "h" => count * 60,
            "day" | "days" => count * 1440,
            "week" | "weeks" => count * 7 * 1440,
            _ => return None,
        };
    }
    Some(sum)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_survive_days() {
        for day in (-200_000..800_000).step_by(37) {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(Moment::new(2023, 2, 29, 0, 0), None);
        assert!(Moment::new(2024, 2, 29, 23, 59).is_some());
        assert_eq!(Moment::new(2024, 1, 1, 24, 0), None);
    }

    #[test]
    fn what_is_said_is_resolved() {
        let now: Moment = "Mon 2026-11-23 14:05".parse().expect("a moment");
        assert_eq!(now.told(), "Mon 2026-11-23 14:05");
        for (said, want) in [
            ("tomorrow 7:00", "2026-11-24T07:00"),
            ("7:00", "2026-11-23T19:00"),
            ("2:00", "2026-11-24T02:00"),
            ("19:30", "2026-11-23T19:30"),
            ("13:00", "2026-11-24T13:00"),
            ("friday 19:00", "2026-11-27T19:00"),
            ("monday 8:00", "2026-11-30T08:00"),
            ("saturday", "2026-11-28"),
            ("tomorrow morning", "2026-11-24T08:00"),
            ("tomorrow evening 7:30", "2026-11-24T19:30"),
            ("tonight", "2026-11-23T20:00"),
            ("today", "2026-11-23"),
            ("in 2 h", "2026-11-23T16:05"),
            ("in 1 h 30 min", "2026-11-23T15:35"),
            ("in 10 days", "2026-12-03T14:05"),
            ("0:00", "2026-11-24T00:00"),
            ("noon", "2026-11-24T12:00"),
        ] {
            assert_eq!(now.resolve(said).map(|w| w.to_string()).as_deref(), Some(want), "{said}");
        }
        for no in ["", "soon", "25:00", "7:61", "in a while", "in 2", "whenever i like", "in 99999999999 h"] {
            assert_eq!(now.resolve(no), None, "{no}");
        }
    }
}
