//! The time that a turn was said at.

use crate::random::Random;
use crate::slots::{DAYS, MONTHS, capital};
use crate::words::Value;

/// A date and a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    year: usize,
    month: usize,
    day: usize,
    minutes: usize,
}

impl Now {
    /// Some moment between 2024 and 2033.
    pub fn draw(random: &mut Random) -> Self {
        let (year, month) = (random.range(2024, 2033), random.range(1, 12));
        Now { year, month, day: random.range(1, days(year, month)), minutes: random.below(24 * 60) }
    }
    /// A little later on the same day.
    pub fn later(self, random: &mut Random) -> Self {
        Now { minutes: (self.minutes + random.range(0, 4)).min(24 * 60 - 1), ..self }
    }
    /// The day of the week, 0 for Monday (Sakamoto's rule).
    fn weekday(self) -> usize {
        let table = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = if self.month < 3 { self.year - 1 } else { self.year };
        (year + year / 4 - year / 100 + year / 400 + table[self.month - 1] + self.day + 6) % 7
    }
    /// `Mon 2026-11-23 14:05`.
    pub fn stamp(self) -> String {
        let day = capital(&DAYS[self.weekday()][..3]);
        format!("{day} {}-{:02}-{:02} {}", self.year, self.month, self.day, self.clock(2))
    }
    fn clock(self, width: usize) -> String {
        format!("{:0width$}:{:02}", self.minutes / 60, self.minutes % 60)
    }
    /// What replies say of it: `time`, `date`, `weekday`, `month` or `year`.
    pub fn told(self, what: &str) -> Option<Value> {
        let weekday = capital(DAYS[self.weekday()]);
        let month = capital(MONTHS[self.month - 1]);
        Some(Value::same(match what {
            "time" => self.clock(2),
            "date" => format!("{weekday}, {month} {}", self.day),
            "weekday" => weekday,
            "month" => month,
            "year" => self.year.to_string(),
            _ => return None,
        }))
    }
}

fn days(year: usize, month: usize) -> usize {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekdays_are_right() {
        let stamp = |year, month, day| Now { year, month, day, minutes: 845 }.stamp();
        assert_eq!(stamp(2026, 11, 23), "Mon 2026-11-23 14:05");
        assert_eq!(stamp(2024, 2, 29), "Thu 2024-02-29 14:05");
        assert_eq!(stamp(2000, 1, 1), "Sat 2000-01-01 14:05");
    }
}
