//! One vector as a provider sees it: its requests, its answers, how it ends, and how much a real request is like one of its own.

use super::leaves::{Leaves, PATH, Sent, walk};
use super::sample::{Bound, NAMES, Samples};
use portolan_channels::{Answered, Vector};
use serde_json::Value;

/// Keys that the kit gives a vector's operation.
const KEYS: std::ops::RangeInclusive<u8> = 1..=8;

/// How a vector ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ending {
    /// It was done.
    Done,
    /// Neither done nor refused.
    Pending,
    /// It was not done.
    Refused,
    /// Nobody knows.
    Unclear,
    /// It is not there.
    Absent,
}

impl Ending {
    fn of(vector: &Vector) -> Self {
        let last = vector.expect.last();
        let fault = last.and_then(|step| step.get("fault"));
        if let Some(fault) = fault.and_then(Value::as_object) {
            // The others say that nothing was done; after these a router has to ask.
            let is_open = fault.contains_key("Protocol") || fault.contains_key("Other");
            return if is_open { Self::Unclear } else { Self::Refused };
        }
        let Some(done) = last.and_then(|step| step.get("done")) else {
            return Self::Unclear;
        };
        let fields = done.as_object().and_then(|fields| fields.keys().next());
        let word = done.as_str().or(fields.map(String::as_str)).unwrap_or_default();
        let state = done
            .pointer("/Standing/state")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match (word, state) {
            ("Unknown", _) => Self::Unclear,
            ("NotFound", _) => Self::Absent,
            ("Declined" | "Refused" | "Expired" | "Returned", _)
            | (_, "Failed" | "Canceled" | "Expired" | "Reversed" | "Disputed") => Self::Refused,
            ("Waiting", _) | (_, "Waiting") => Self::Pending,
            _ => Self::Done,
        }
    }
}

/// One request of a vector, and its answer.
pub struct Line {
    method: String,
    sent: Leaves,
    /// What is answered.
    pub answer: Answered,
}

/// One vector.
pub struct Case {
    /// Its file's name.
    pub name: String,
    /// What it shows.
    pub shows: String,
    /// The function that it is about.
    pub function: String,
    /// Its place among those, from 1.
    pub number: u64,
    /// How it ends.
    pub ending: Ending,
    /// The function's arguments.
    pub input: Vec<Value>,
    /// What is another thing in each payment.
    pub samples: Samples,
    /// Its requests.
    pub lines: Vec<Line>,
    /// What the outcome calls it.
    pub reference: Option<String>,
    /// The state that it says, or leads to.
    pub state: Option<String>,
}

impl Case {
    /// From a vector.
    pub fn new(name: String, number: u64, vector: Vector) -> Self {
        let mut samples = Samples::new(&vector.input);
        for key in KEYS {
            samples.learn(&Value::from(format!("key-{key}")));
        }
        let ending = Ending::of(&vector);
        let done = vector.expect.last().and_then(|step| step.get("done"));
        let fields = done.and_then(Value::as_object).and_then(|cases| cases.values().next());
        let text = |field: &str| Some(fields?.get(field)?.as_str()?.to_owned());
        let captured = fields.and_then(|it| it.get("captured")).and_then(Value::as_bool);
        let state = text("state").or(captured.map(|it| if it { "Captured" } else { "Authorized" }.to_owned()));
        let reference = text("reference");
        let sends = vector.expect.iter().filter_map(|step| step.get("send"));
        let lines: Vec<Line> = sends
            .zip(&vector.answers)
            .filter_map(|(send, answer)| Line::new(send, answer))
            .collect();
        for line in &lines {
            // What an answer says may be a part of the next request.
            if let Some(body) = body(&line.answer) {
                samples.learn(&body);
            }
        }
        Self {
            name,
            shows: vector.shows,
            function: vector.function,
            number,
            ending,
            input: vector.input,
            samples,
            lines,
            reference,
            state,
        }
    }

    /// Whether it asks what became of something.
    pub fn is_question(&self) -> bool {
        self.function.ends_with("status")
    }

    /// Whether a provider can do what it shows: nobody can prevent that he is asked.
    pub fn is_playable(&self) -> bool {
        let is_answer = |line: &Line| !matches!(line.answer, Answered::NotSent(_));
        !self.lines.is_empty() && self.lines.iter().all(is_answer)
    }

    /// Texts that name what it is about: what a later request may ask for.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.ids();
        for value in &self.input {
            walk(value, String::new(), &mut |place, text| {
                if place.split('/').any(|field| NAMES.contains(&field)) {
                    names.push(text.to_owned());
                }
            });
        }
        names.extend(KEYS.map(|at| format!("key-{at}")));
        names
    }

    /// Texts that the provider made: another one for each payment.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.reference.iter().cloned().collect();
        for (at, line) in self.lines.iter().enumerate() {
            let later = self.lines.iter().skip(at.saturating_add(1));
            let sent: Vec<&String> = later.flat_map(|line| line.sent.values()).collect();
            let Some(body) = body(&line.answer) else { continue };
            walk(&body, String::new(), &mut |_, text| {
                let is_name = text.len() > 2 && text.bytes().any(|byte| byte.is_ascii_digit());
                let is_own = self.input.iter().any(|value| says(value, text));
                if is_name && !is_own && self.samples.amount.as_ref().is_none_or(|sum| !sum.is_said(text)) {
                    ids.extend(sent.iter().any(|it| it.as_str() == text).then(|| text.to_owned()));
                }
            });
        }
        ids
    }

    /// How much a request is like this one of the vector, and what it says in place of the samples; `None`: it is another one.
    pub fn fit(&self, line: &Line, method: &str, leaves: &Leaves) -> Option<(i64, Bound)> {
        let paths = |all: &Leaves| all.keys().filter(|place| place.starts_with(PATH)).count();
        if line.method != method || paths(&line.sent) != paths(leaves) {
            return None;
        }
        let (mut score, mut bound) = (0_i64, Bound::default());
        for (place, sample) in &line.sent {
            let fits = leaves
                .get(place)
                .map(|text| self.samples.bind(place, (sample, text), &mut bound));
            score = score.saturating_add(match fits {
                Some(true) => 2,
                Some(false) if place.starts_with(PATH) => return None,
                Some(false) => 0,
                None => -1,
            });
        }
        let more = leaves
            .keys()
            .filter(|place| !place.starts_with("header/") && !line.sent.contains_key(*place));
        Some((
            score.saturating_sub_unsigned(u64::try_from(more.count()).unwrap_or(u64::MAX)),
            bound,
        ))
    }
}

impl Line {
    fn new(send: &Value, answer: &Answered) -> Option<Self> {
        let mut words = send.get("request")?.as_str()?.splitn(3, ' ');
        let (_endpoint, method, path) = (words.next()?, words.next()?, words.next()?);
        let headers = send.get("headers").and_then(Value::as_array).into_iter().flatten();
        let header = |line: &Value| {
            let (name, value) = line.as_str()?.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        };
        let sent = Sent {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.filter_map(header).collect(),
            body: send.get("body").and_then(Value::as_str).unwrap_or_default().to_owned(),
        };
        Some(Self {
            method: sent.method.clone(),
            sent: sent.leaves(),
            answer: answer.clone(),
        })
    }
}

/// The body of an answer, as JSON where it is that.
pub fn body(answer: &Answered) -> Option<Value> {
    let (Answered::Response(_, body) | Answered::ResponseWith(_, _, body)) = answer else {
        return None;
    };
    let parsed = body.as_str().and_then(|text| serde_json::from_str(text).ok());
    Some(parsed.unwrap_or_else(|| body.clone()))
}

fn says(value: &Value, wanted: &str) -> bool {
    let mut is_said = false;
    walk(value, String::new(), &mut |_, text| is_said |= text == wanted);
    is_said
}
