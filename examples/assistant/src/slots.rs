//! What fills the gaps of wordings: numbers, times, durations, names, things.

use crate::error::Result;
use crate::random::Random;
use crate::split::Split;
use crate::words::{Value, Words};

/// Numbers from 0 to 19 in words.
const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
/// The days of a week, Monday first.
pub const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// The months of a year.
pub const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A number up to 999 in words.
pub fn in_words(n: usize) -> String {
    match n {
        0..20 => SMALL[n].to_string(),
        20..100 if n.is_multiple_of(10) => TENS[n / 10].to_string(),
        20..100 => format!("{} {}", TENS[n / 10], SMALL[n % 10]),
        _ if n.is_multiple_of(100) => format!("{} hundred", in_words(n / 100 % 10)),
        _ => format!("{} hundred and {}", in_words(n / 100 % 10), in_words(n % 100)),
    }
}

/// Fills gaps for one split.
#[derive(Debug, Clone, Copy)]
pub struct Slots<'a> {
    /// The word lists.
    pub words: &'a Words,
    /// Whose words are used.
    pub split: Split,
    /// Everything as it is spoken: no digits.
    pub spoken: bool,
    /// Names with capitals.
    pub capitals: bool,
}

impl Slots<'_> {
    /// Fills the gap `name`: one of the kinds below, or an entry of the list of that name.
    pub fn value(&self, name: &str, random: &mut Random) -> Result<Value> {
        Ok(match name {
            "duration" => self.duration(random),
            "seconds" => {
                let n = random.word(&["2", "3", "5", "10", "15", "20", "30"]).parse().unwrap_or(5);
                Value::new(format!("{} seconds", self.number(n, random)), format!("{n} s"))
            }
            "clock" => self.clock(random, false),
            "at" => self.moment(random, true),
            "for" => self.moment(random, false),
            "day" => self.day(random, false),
            "on day" => self.day(random, true),
            "week day" => Value::same(random.word(&DAYS)),
            "number" => self.count(random, 2, 20),
            "people" => self.count(random, 2, 12),
            "level" => {
                let n = 5 * random.range(1, 20);
                self.count(random, n, n)
            }
            "low level" => {
                let n = 5 * random.range(1, 14);
                self.count(random, n, n)
            }
            "degrees" => self.count(random, 15, 26),
            "angle" => {
                let n =
                    random.word(&["30", "45", "60", "90", "120", "180", "20", "15", "270", "10"]).parse().unwrap_or(90);
                self.count(random, n, n)
            }
            "distance" => self.distance(random),
            "amount" => self.count(random, 2, 250),
            "sum" => self.sum(random),
            "date" => self.date(random),
            "size" => self.invented_number(random, 30, 50, ""),
            "locker" => self.invented_number(random, 10, 999, ""),
            "heat" => self.invented_number(random, 15, 27, ""),
            "bright" => self.invented_number(random, 3, 97, ""),
            "usual" => self.usual(random),
            "plate" => self.checked(random, |r| {
                let letter = |r: &mut Random| char::from(b'a' + u8::try_from(r.below(26)).unwrap_or(0));
                format!("{}{} {}", letter(r), letter(r), r.range(10, 9999))
            }),
            "code" => self.checked(random, |r| (0..r.range(3, 6)).map(|_| r.below(10).to_string()).collect()),
            "street" => self.street(random)?,
            "wish" => self.wish(random)?,
            "invented" => {
                let word = self.words.invented(self.split, random);
                Value::same(if self.capitals && random.chance(50) { capital(&word) } else { word })
            }
            _ => {
                if let Some(value) = self.common(name, random)? {
                    return Ok(value);
                }
                let mut value = self.words.value(name, self.split, random)?;
                if value.said.contains('{') {
                    value = self.nested(&value, random)?;
                }
                if self.capitals && self.words.proper(name) {
                    value = Value::same(capitals(&value.said));
                }
                value
            }
        })
    }

    /// A text put together from common words: in writing, and for training alone, so that what is held out stays as it was.
    fn common(&self, name: &str, random: &mut Random) -> Result<Option<Value>> {
        if self.spoken || self.split != Split::Train {
            return Ok(None);
        }
        let may = |text: &str| self.words.may_use(text, Split::Train);
        let mut other = |gap: &str, random: &mut Random| Ok(self.value(gap, random)?.said);
        let text = self.words.common().text(name, !self.words.has(name), random, &mut other, &may)?;
        let names = self.capitals && self.words.proper(name);
        Ok(text.map(|text| Value::same(if names { capitals(&text) } else { text })))
    }

    /// Fills the gaps inside an entry of a list. The texts of actions are what was said.
    fn nested(&self, value: &Value, random: &mut Random) -> Result<Value> {
        let mut out = String::new();
        let mut rest = value.said.as_str();
        while let Some((head, tail)) = rest.split_once('{') {
            let (name, after) = tail.split_once('}').unwrap_or((tail, ""));
            out.push_str(head);
            out.push_str(&self.value(name, random)?.said);
            rest = after;
        }
        out.push_str(rest);
        Ok(Value::same(out))
    }

    fn number(&self, n: usize, random: &mut Random) -> String {
        if self.spoken || random.chance(50) { in_words(n) } else { n.to_string() }
    }
    fn count(&self, random: &mut Random, low: usize, high: usize) -> Value {
        let n = random.range(low, high);
        Value::new(self.number(n, random), n.to_string())
    }
    /// A number that belongs to this split, where the range has one.
    fn invented_number(&self, random: &mut Random, low: usize, high: usize, unit: &str) -> Value {
        for _ in 0..200 {
            let n = random.range(low, high);
            if Split::of_invented(&format!("{n}{unit}")) == self.split {
                return Value::new(self.number(n, random), n.to_string());
            }
        }
        self.count(random, low, high)
    }
    fn checked(&self, random: &mut Random, make: impl Fn(&mut Random) -> String) -> Value {
        for _ in 0..200 {
            let text = make(random);
            if Split::of_invented(&text) == self.split {
                return Value::same(text);
            }
        }
        Value::same(make(random))
    }

    fn duration(&self, random: &mut Random) -> Value {
        let fixed = [
            ("half an hour", "30 min"),
            ("an hour", "1 h"),
            ("one hour", "1 h"),
            ("a minute", "1 min"),
            ("an hour and a half", "1 h 30 min"),
            ("a quarter of an hour", "15 min"),
            ("two and a half minutes", "2 min 30 s"),
            ("half a minute", "30 s"),
            ("a minute and a half", "1 min 30 s"),
        ];
        match random.below(10) {
            0 => random
                .pick(&fixed)
                .map_or_else(|| Value::new("an hour", "1 h"), |(said, norm)| Value::new(*said, *norm)),
            1 => {
                let n = random.range(2, 9);
                Value::new(format!("{} hours", self.number(n, random)), format!("{n} h"))
            }
            2 => {
                let n = 5 * random.range(1, 11);
                let unit = if self.spoken { "seconds" } else { random.word(&["seconds", "seconds", "secs", "sec"]) };
                Value::new(format!("{} {unit}", self.number(n, random)), format!("{n} s"))
            }
            3 => {
                let (h, m) = (random.range(1, 3), 5 * random.range(1, 11));
                let hours = if h == 1 { "hour" } else { "hours" };
                let and = random.word(&[" and", ""]);
                let said = format!("{} {hours}{and} {} minutes", self.number(h, random), self.number(m, random));
                Value::new(said, format!("{h} h {m} min"))
            }
            _ => {
                let n = if random.chance(50) { 5 * random.range(1, 11) } else { random.range(2, 59) };
                let unit = if self.spoken {
                    "minutes"
                } else {
                    random.word(&["minutes", "minutes", "minutes", "mins", "min"])
                };
                Value::new(format!("{} {unit}", self.number(n, random)), format!("{n} min"))
            }
        }
    }

    /// A time of day. In 24 hours where the wording says which half of the day is meant, otherwise as it was said.
    fn clock(&self, random: &mut Random, plain: bool) -> Value {
        let hour = random.range(1, 12);
        let minute = random.word(&["0", "0", "0", "30", "30", "15", "45", "any"]);
        let minute = minute.parse().unwrap_or_else(|_| 5 * random.range(1, 11));
        let digits = !self.spoken && random.chance(50);
        let next = hour % 12 + 1;
        let (said, hour) = match minute {
            0 if digits && random.chance(40) => (format!("{hour}:00"), hour),
            0 if digits => (hour.to_string(), hour),
            0 if !plain && random.chance(20) => (format!("{} o'clock", in_words(hour)), hour),
            0 => (in_words(hour), hour),
            _ if digits => (format!("{hour}:{minute:02}"), hour),
            30 if random.chance(50) => (format!("half past {}", in_words(hour)), hour),
            15 if random.chance(50) => (format!("quarter past {}", in_words(hour)), hour),
            45 if random.chance(50) => (format!("quarter to {}", in_words(next)), hour),
            5 => (format!("{} oh five", in_words(hour)), hour),
            _ => (format!("{} {}", in_words(hour), in_words(minute)), hour),
        };
        if said.contains("o'clock") || random.chance(65) {
            return Value::new(said, format!("{hour}:{minute:02}"));
        }
        let midnight = |h: usize| if h == 12 { 0 } else { h };
        let (half, hour) = match random.below(4) {
            0 => (random.word(&["am", "a.m."]), midnight(hour)),
            1 => (random.word(&["pm", "p.m."]), midnight(hour) + 12),
            2 if (5..=10).contains(&hour) => ("in the morning", hour),
            2 => (random.word(&["pm"]), midnight(hour) + 12),
            _ if (5..=10).contains(&hour) => ("in the evening", hour + 12),
            _ if (1..=4).contains(&hour) => ("in the afternoon", hour + 12),
            _ => ("pm", midnight(hour) + 12),
        };
        let half = if self.spoken { half.replace("a.m.", "am").replace("p.m.", "pm") } else { half.to_string() };
        Value::new(format!("{said} {half}"), format!("{hour}:{minute:02}"))
    }

    /// A time with its day: "tomorrow at seven", or "at seven tomorrow" where a preposition is wanted.
    fn moment(&self, random: &mut Random, preposition: bool) -> Value {
        let day = *random.pick(&DAYS).unwrap_or(&DAYS[0]);
        let clock = self.clock(random, true);
        let (said, norm) = (clock.said, clock.norm);
        let on = if preposition { "on " } else { "" };
        match random.below(if preposition { 10 } else { 8 }) {
            0 => Value::new(format!("tomorrow at {said}"), format!("tomorrow {norm}")),
            1 => Value::new(format!("{on}{day} at {said}"), format!("{day} {norm}")),
            2 if preposition => Value::new(format!("at {said} on {day}"), format!("{day} {norm}")),
            2 => Value::new(format!("{said} on {day}"), format!("{day} {norm}")),
            3 if preposition => Value::new(format!("at {said} tomorrow"), format!("tomorrow {norm}")),
            3 => Value::new(format!("{said} tomorrow"), format!("tomorrow {norm}")),
            8 => {
                let duration = self.duration(random);
                Value::new(format!("in {}", duration.said), format!("in {}", duration.norm))
            }
            9 if random.chance(50) => Value::new("at noon", "12:00"),
            9 => Value::new("at midnight", "0:00"),
            _ if preposition => Value::new(format!("at {said}"), norm),
            _ => Value::new(said, norm),
        }
    }

    fn day(&self, random: &mut Random, preposition: bool) -> Value {
        let day = *random.pick(&DAYS).unwrap_or(&DAYS[0]);
        let on = if preposition { "on " } else { "" };
        match random.below(8) {
            0 | 1 => Value::same("today"),
            2 | 3 => Value::same("tomorrow"),
            4 => Value::same(random.word(&[
                "tomorrow morning",
                "tomorrow evening",
                "tonight",
                "this evening",
                "tomorrow afternoon",
            ])),
            5 => Value::same(random.word(&["this weekend", "next week", "this week", "this afternoon"])),
            _ => Value::new(format!("{on}{day}"), day),
        }
    }

    fn distance(&self, random: &mut Random) -> Value {
        let n = random.range(1, 12);
        match random.below(if self.spoken { 4 } else { 6 }) {
            0 => Value::new("half a meter", "0.5 m"),
            1 => Value::new(format!("{} centimeters", self.number(10 * n, random)), format!("{} cm", 10 * n)),
            2 | 3 if n == 1 => Value::new("one meter", "1 m"),
            2 | 3 => Value::new(format!("{} meters", self.number(n, random)), format!("{n} m")),
            4 => Value::new(format!("{n} m"), format!("{n} m")),
            _ => Value::new(format!("{} metres", self.number(n + 1, random)), format!("{} m", n + 1)),
        }
    }

    fn sum(&self, random: &mut Random) -> Value {
        let (a, b) = (random.range(2, 99), random.range(2, 99));
        let (words, sign) = random
            .pick(&[
                ("plus", '+'),
                ("minus", '-'),
                ("times", '*'),
                ("divided by", '/'),
                ("and", '+'),
                ("multiplied by", '*'),
            ])
            .copied()
            .unwrap_or(("plus", '+'));
        let (x, y) = (self.number(a, random), self.number(b, random));
        // "and" alone adds nothing up: it needs words.
        let words = if words == "and" { "plus" } else { words };
        if !self.spoken && random.chance(25) {
            let space = random.word(&["", " "]);
            return Value::new(format!("{a}{space}{sign}{space}{b}"), format!("{a}{sign}{b}"));
        }
        Value::new(format!("{x} {words} {y}"), format!("{a}{sign}{b}"))
    }

    /// A date such as `may 4`, of this split.
    fn date(&self, random: &mut Random) -> Value {
        for _ in 0..200 {
            let (month, day) = (*random.pick(&MONTHS).unwrap_or(&MONTHS[0]), random.range(1, 28));
            let norm = format!("{month} {day}");
            if Split::of_invented(&norm) != self.split {
                continue;
            }
            let ending = match (day % 10, day / 10) {
                (_, 1) => "th",
                (1, _) => "st",
                (2, _) => "nd",
                (3, _) => "rd",
                _ => "th",
            };
            let said = match random.below(3) {
                0 => norm.clone(),
                1 => format!("the {day}{ending} of {month}"),
                _ => format!("{month} {day}{ending}"),
            };
            return Value::new(said, norm);
        }
        Value::same("may 4")
    }

    /// A time of somebody's day, of this split: `6:40`.
    fn usual(&self, random: &mut Random) -> Value {
        for _ in 0..400 {
            let value = self.clock(random, false);
            if Split::of_invented(&value.norm) == self.split {
                return value;
            }
        }
        self.clock(random, false)
    }

    fn street(&self, random: &mut Random) -> Result<Value> {
        let name = self.words.value("street names", self.split, random)?.said;
        let kind = random.word(&["street", "street", "road", "avenue", "lane", "square", "way", "hill"]);
        let number = if random.chance(40) { format!(" {}", random.range(1, 120)) } else { String::new() };
        let text = format!("{name} {kind}{number}");
        Ok(Value::same(if self.capitals { capitals(&text) } else { text }))
    }

    /// How somebody takes a drink or a dish: "without sugar", which an action carries as `no sugar`.
    fn wish(&self, random: &mut Random) -> Result<Value> {
        let thing = self.words.value("additions", self.split, random)?.said;
        Ok(match random.below(6) {
            0 | 1 => Value {
                said: format!("without {thing}"),
                norm: format!("no {thing}"),
                told: format!("without {thing}"),
            },
            2 => Value {
                said: format!("with extra {thing}"),
                norm: format!("extra {thing}"),
                told: format!("with extra {thing}"),
            },
            3 => {
                let said = format!("with a little {thing}");
                Value { norm: format!("a little {thing}"), told: said.clone(), said }
            }
            _ => Value { said: format!("with {thing}"), norm: format!("with {thing}"), told: format!("with {thing}") },
        })
    }
}

/// The same words, each with a capital.
pub fn capitals(text: &str) -> String {
    text.split(' ').map(capital).collect::<Vec<_>>().join(" ")
}

/// The same text with a capital first.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
