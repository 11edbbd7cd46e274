//! A robot on a grid: `robot ["go forward two meters" ...]`. Each command goes in as words, moves come out, with the
//! time that it took.

use lichen::Action;
use lichen_senses::{Error, MOST, assistant, run, words};
use std::process::ExitCode;
use std::time::Instant;

/// Said when nothing else is.
const COMMANDS: [&str; 6] = [
    "move forward two meters",
    "turn left",
    "go forward 3 meters please",
    "turn around",
    "take a photo when I jump",
    "bake me a cake",
];

/// Where it stands, in meters, and where it looks, in degrees: 0 is north, 90 east.
#[derive(Default)]
struct Robot {
    east: f64,
    north: f64,
    up: f64,
    heading: f64,
}

impl Robot {
    fn act(&mut self, action: &Action) {
        let argument = |name: &str| action.arguments.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let number = |text: Option<&str>, or: f64| {
            text.and_then(|t| t.split_whitespace().next()).and_then(|t| t.parse().ok()).unwrap_or(or)
        };
        match (action.name.as_str(), argument("direction")) {
            ("robot.move", Some(direction)) => {
                let distance = number(argument("distance"), 1.0);
                match direction {
                    "up" => self.up += distance,
                    "down" => self.up -= distance,
                    side => {
                        let turn = match side {
                            "back" => 180.0,
                            "left" => -90.0,
                            "right" => 90.0,
                            _ => 0.0,
                        };
                        let (sin, cos) = f64::sin_cos((self.heading + turn).to_radians());
                        (self.east, self.north) = (self.east + distance * sin, self.north + distance * cos);
                    }
                }
            }
            ("robot.turn", Some(direction)) => {
                let angle = match direction {
                    "around" => 180.0,
                    "left" => -number(argument("angle"), 90.0),
                    _ => number(argument("angle"), 90.0),
                };
                self.heading = (self.heading + angle).rem_euclid(360.0);
            }
            _ => {}
        }
    }
}

fn main() -> ExitCode {
    run(|arguments| {
        let said: Vec<&str> = match arguments {
            [] => COMMANDS.to_vec(),
            given => given.iter().map(String::as_str).collect(),
        };
        let mut lichen = assistant()?;
        let mut robot = Robot::default();
        for command in said {
            lichen.forget()?;
            let start = Instant::now();
            let reply = pollster::block_on(lichen.ask(&words(command), None, None, MOST))?;
            let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
            println!("> {command}   ({milliseconds:.0} ms)");
            for action in &reply.actions {
                robot.act(action);
                println!("  {}", serde_json::to_string(action).map_err(|e| Error::Other(e.to_string()))?);
            }
            println!("  {}", reply.text);
            let Robot { east, north, up, heading } = robot;
            println!("  now {north:.1} m north, {east:.1} m east, {up:.1} m up, looking at {heading:.0} degrees");
        }
        Ok(())
    })
}
