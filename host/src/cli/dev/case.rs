//! One vector as a provider sees it: its requests, its answers, how it ends, and how much a real request is like one of its own.

use super::leaves::{Leaves, PATH, Sent, walk};
use super::sample::{Bound, NAMES, Samples};
use portolan_channels::{Answered, Vector};
use serde_json::{Value, json};

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
            // The others say that nothing was done; after these a router has to ask, if there was a write.
            let is_open = fault.contains_key("Protocol") || fault.contains_key("Other");
            let effects = vector.expect.iter().filter_map(|step| step.pointer("/send/effect"));
            let has_written = effects.into_iter().any(|effect| effect == "Effect::Write");
            return if is_open && has_written {
                Self::Unclear
            } else {
                Self::Refused
            };
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

/// How a request is like one of a vector's.
pub struct Likeness {
    /// The more, the more.
    pub score: i64,
    /// Whether what is a yes or a no in one is the same in the other.
    pub is_kind: bool,
    /// What it says in place of the samples.
    pub bound: Bound,
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
        let is_waiting = done.is_some_and(|done| done.get("Waiting").is_some());
        let state = text("state")
            .or(captured.map(|it| if it { "Captured" } else { "Authorized" }.to_owned()))
            .or(is_waiting.then(|| "Waiting".to_owned()));
        let reference = text("reference");
        let sends = vector.expect.iter().filter_map(|step| step.get("send"));
        let lines: Vec<Line> = sends
            .zip(&vector.answers)
            .filter_map(|(send, answer)| Line::new(send, answer))
            .collect();
        for line in &lines {
            // What an answer says may be a part of the next request.
            if let Some(said) = said(&line.answer) {
                samples.learn(&said);
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
        let mut names: Vec<String> = self.reference.iter().cloned().collect();
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

    /// Texts of the answers that may be names which the provider made.
    pub fn made(&self) -> Vec<String> {
        let mut made = vec![];
        for said in self.lines.iter().filter_map(|line| said(&line.answer)) {
            walk(&said, String::new(), &mut |_, text| {
                // An address has its id as a part.
                let parts = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter));
                made.extend(
                    [text]
                        .into_iter()
                        .chain(parts)
                        .filter(|it| self.may_be_made(it))
                        .map(str::to_owned),
                );
            });
        }
        made
    }

    fn may_be_made(&self, text: &str) -> bool {
        let is_name = text.len() > 2 && text.bytes().any(|byte| byte.is_ascii_digit());
        let is_asked = || self.input.iter().any(|value| says(value, text));
        let is_amount = || self.samples.amount.as_ref().is_some_and(|sum| sum.is_said(text));
        is_name && !is_asked() && !is_amount()
    }

    /// Every text of its requests.
    pub fn sent(&self) -> impl Iterator<Item = &String> {
        self.lines.iter().flat_map(|line| line.sent.values())
    }

    /// How a request is like this one of the vector; `None`: it is another one.
    pub fn fit(&self, line: &Line, method: &str, leaves: &Leaves) -> Option<Likeness> {
        let paths = |all: &Leaves| all.keys().filter(|place| place.starts_with(PATH)).count();
        if line.method != method || paths(&line.sent) != paths(leaves) {
            return None;
        }
        let (mut score, mut bound, mut is_kind) = (0_i64, Bound::default(), true);
        // The currency first: it says how amounts are written.
        let (assets, others): (Vec<_>, Vec<_>) = line.sent.iter().partition(|(_, it)| self.samples.is_asset(it));
        for (place, sample) in assets.into_iter().chain(others) {
            let fits = leaves
                .get(place)
                .map(|text| self.samples.bind(place, (sample, text), &mut bound));
            is_kind &= fits != Some(false) || !matches!(sample.as_str(), "true" | "false");
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
        let score = score.saturating_sub_unsigned(u64::try_from(more.count()).unwrap_or(u64::MAX));
        Some(Likeness { score, is_kind, bound })
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

/// What an answer says: its headers, and its body, as JSON where it is that.
pub fn said(answer: &Answered) -> Option<Value> {
    let (headers, body) = match answer {
        Answered::Response(_, body) => (&[][..], body),
        Answered::ResponseWith(_, headers, body) => (headers.as_slice(), body),
        Answered::NotSent(_) | Answered::Unknown(_) => return None,
    };
    let parsed = body.as_str().and_then(|text| serde_json::from_str(text).ok());
    let headers: serde_json::Map<String, Value> = headers.iter().map(|(name, it)| (name.clone(), json!(it))).collect();
    Some(json!({ "headers": headers, "body": parsed.unwrap_or_else(|| body.clone()) }))
}

fn says(value: &Value, wanted: &str) -> bool {
    let mut is_said = false;
    walk(value, String::new(), &mut |_, text| is_said |= text == wanted);
    is_said
}
