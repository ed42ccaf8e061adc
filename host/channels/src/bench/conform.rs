//! What providers and networks do on bad days, tried on an adapter: each vector again, with one of its answers replaced.
//! The router would survive whatever the adapter makes of it; here its partner learns of it first.

use super::Subject;
use super::vectors::{Answered, Gave, Stopped, Vector, differs};
use serde_json::{Value, json};

/// One attack on one vector, and what is wrong with how the adapter took it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was done.
    pub attack: &'static str,
    /// At which answer, from 1.
    pub at: usize,
    /// The rule that was broken.
    pub problem: String,
}

type Attack = (&'static str, fn(&Answered) -> Option<Answered>);

/// Outcomes that say that it was done, by whatever interface.
const SUCCESSES: [&str; 4] = ["Accepted", "Done", "Converted", "Sent"];
/// Outcomes that say that nothing was done.
const REFUSALS: [&str; 3] = ["Declined", "Refused", "Expired"];
/// Attacks that know what was asked for.
const OTHERS: [&str; 2] = ["ten times the amount", "another currency"];

const ATTACKS: &[Attack] = &[
    ("no answer", |_| {
        Some(Answered::Unknown("timeout after the request was sent".into()))
    }),
    ("not sent", |_| Some(Answered::NotSent("connection refused".into()))),
    ("500 with a page", |_| {
        Some(Answered::Response(500, json!("<html>Internal Server Error</html>")))
    }),
    ("500 with what was said", |answer| {
        answer.body().map(|(_, body)| Answered::Response(500, body.clone()))
    }),
    ("502 without a body", |_| Some(Answered::Response(502, json!("")))),
    ("429", |_| {
        Some(Answered::Response(429, json!({ "error": "too many requests" })))
    }),
    ("401", |_| {
        Some(Answered::Response(401, json!({ "error": "unauthorized" })))
    }),
    ("200 without a body", |_| Some(Answered::Response(200, json!("")))),
    ("200 with garbage", |_| {
        Some(Answered::Response(200, json!("\u{1}\u{2} not what you think {]")))
    }),
    ("200 with an empty object", |_| Some(Answered::Response(200, json!({})))),
    ("200 with a list", |_| {
        Some(Answered::Response(200, json!([1, "two", null])))
    }),
    ("200, deeply nested", |_| {
        Some(Answered::Response(
            200,
            json!(format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))),
        ))
    }),
    ("half the body", |answer| {
        let (status, body) = answer.body()?;
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let half = text.floor_char_boundary(text.len() / 2);
        Some(Answered::Response(status, json!(text.get(..half)?)))
    }),
    ("every text empty", |answer| {
        altered(answer, &|value| value.is_string().then(|| json!("")))
    }),
    ("every word unknown", |answer| {
        altered(answer, &|value| match value {
            Value::String(text) if !text.is_empty() && !is_currency(text) => Some(json!("never-heard-of")),
            _ => None,
        })
    }),
];

fn is_currency(text: &str) -> bool {
    ["EUR", "USD", "GBP", "HKD", "CNY", "BRL", "CHF"]
        .iter()
        .any(|it| it.eq_ignore_ascii_case(text))
}

impl Answered {
    fn body(&self) -> Option<(u16, &Value)> {
        match self {
            Self::Response(status, body) | Self::ResponseWith(status, _, body) => Some((*status, body)),
            Self::NotSent(_) | Self::Unknown(_) => None,
        }
    }
}

/// The answer with some of its values replaced; `None`: there are none of those.
fn altered(answer: &Answered, change: &dyn Fn(&Value) -> Option<Value>) -> Option<Answered> {
    let (status, body) = answer.body()?;
    let body = match body {
        Value::String(text) => serde_json::from_str(text).ok()?,
        json => json.clone(),
    };
    let new = walk(&body, change);
    (new != body).then_some(Answered::Response(status, new))
}

fn walk(value: &Value, change: &dyn Fn(&Value) -> Option<Value>) -> Value {
    if let Some(new) = change(value) {
        return new;
    }
    match value {
        Value::Array(items) => items.iter().map(|item| walk(item, change)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), walk(value, change)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

impl Subject<'_> {
    pub(super) fn attack(&self, vector: &Vector) -> Result<(usize, Vec<Finding>), Stopped> {
        let (mut tried, mut found) = (0_usize, vec![]);
        for (at, answer) in vector.answers.iter().enumerate() {
            let before = vector.answers.get(..at).unwrap_or_default();
            let is_write = match self.call(vector, before)? {
                Gave::Step(step) if step.get("send").is_some() => self.is_write(&step),
                Gave::Step(step) => {
                    found.extend(mistake(&step).map(|problem| unprovoked(at, problem)));
                    break;
                }
                Gave::Failed(fault) => {
                    found.push(unprovoked(at, fault.to_string()));
                    break;
                }
            };
            let general = ATTACKS.iter().map(|(attack, replace)| (*attack, replace(answer)));
            let asked = vector.input.iter().find_map(money);
            let others =
                OTHERS.map(|attack| (attack, asked.as_ref().and_then(|asked| asked.otherwise(answer, attack))));
            for (attack, replaced) in general.chain(others) {
                let Some(instead) = replaced else { continue };
                let answers: Vec<Answered> = before.iter().cloned().chain([instead.clone()]).collect();
                tried = tried.saturating_add(1);
                let (gave, again) = self.call_twice(vector, &answers)?;
                let judged = || judge(&gave, (attack, &instead), is_write, asked.as_ref());
                let problem = differs(&gave, &again).or_else(judged);
                found.extend(problem.map(|problem| Finding {
                    attack,
                    at: at.saturating_add(1),
                    problem,
                }));
            }
        }
        Ok((tried, found))
    }
}

/// What the vector itself does, before anything is attacked.
fn unprovoked(at: usize, problem: String) -> Finding {
    Finding {
        attack: "none yet",
        at,
        problem: format!("it fell over: {problem}"),
    }
}

/// A fault that no provider caused: the adapter's own.
fn mistake(step: &Value) -> Option<String> {
    let text = step.pointer("/fault/Other")?;
    Some(format!("a mistake of its own: {}", text.as_str().unwrap_or_default()))
}

fn judge(
    gave: &Gave,
    (attack, answer): (&str, &Answered),
    is_write: bool,
    asked: Option<&Asked<'_>>,
) -> Option<String> {
    let step = match gave {
        Gave::Failed(fault) => return Some(format!("it fell over: {fault}")),
        Gave::Step(step) => step,
    };
    // Where nothing was heard, or an error, an adapter may have no better word.
    let was_heard = matches!(answer, Answered::Response(..300, _) | Answered::ResponseWith(..300, ..));
    if let Some(problem) = mistake(step).filter(|_| was_heard) {
        return Some(problem);
    }
    let done = step.get("done")?;
    let case = match done {
        Value::String(name) => name.clone(),
        Value::Object(fields) => fields.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let is_silent = !matches!(answer, Answered::Response(..499, _) | Answered::ResponseWith(..499, ..))
        || attack == "401"
        || attack == "429";
    let is_success = SUCCESSES.contains(&case.as_str());
    let is_refusal = REFUSALS.contains(&case.as_str());
    match answer {
        Answered::Unknown(_) if is_write && case != "Unknown" => Some(format!(
            "a write went unanswered and the outcome is {case}: nobody can know that"
        )),
        Answered::NotSent(_) if is_success => Some(format!("nothing was sent and the outcome is {case}")),
        Answered::Response(500.., _) if is_write && (is_success || is_refusal) => Some(format!(
            "a server's error after a write, and the outcome is {case}: nobody can know that"
        )),
        _ if is_silent && case == "NotFound" => Some(
            "the outcome is not found, although the provider never said so: what was taken could be taken again".into(),
        ),
        _ if is_success && OTHERS.contains(&attack) => hidden(asked?, done, attack),
        _ => None,
    }
}

/// The provider said another amount or currency, and the adapter says what was asked for: the router, which compares, never
/// learns of it.
fn hidden(asked: &Asked<'_>, done: &Value, attack: &str) -> Option<String> {
    let told = money(done)?;
    let is_hidden = if attack == "another currency" {
        told.asset == asked.asset
    } else {
        told.units == asked.units
    };
    is_hidden.then(|| {
        format!(
            "the provider said {attack} and the outcome says {} {}, as asked",
            told.units, told.asset
        )
    })
}

/// An amount, in units of its exponent.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    units: &'a str,
    exponent: usize,
    asset: &'a str,
}

impl Asked<'_> {
    /// The answer with this amount, or this currency, as another one wherever it stands; `None`: it stands nowhere.
    fn otherwise(&self, answer: &Answered, attack: &str) -> Option<Answered> {
        let major = self.major();
        let more = format!("{}0", self.units);
        let ten_times = Asked { units: &more, ..*self }.major();
        let change = |value: &Value| -> Option<Value> {
            if attack == "another currency" {
                let text = value.as_str().filter(|text| text.eq_ignore_ascii_case(self.asset))?;
                let is_lower = text.chars().all(|letter| !letter.is_ascii_uppercase());
                return Some(json!(if is_lower { "xts" } else { "XTS" }));
            }
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            let more = if text == self.units {
                format!("{text}0")
            } else if text.contains('.') && text.trim_end_matches('0') == major.trim_end_matches('0') {
                ten_times.clone()
            } else {
                return None;
            };
            if value.is_string() {
                Some(json!(more))
            } else {
                serde_json::from_str(&more).ok()
            }
        };
        altered(answer, &change)
    }

    /// `10.99`
    fn major(&self) -> String {
        let digits = format!("{:0>width$}", self.units, width = self.exponent.saturating_add(1));
        let (whole, part) = digits.split_at(digits.len().saturating_sub(self.exponent));
        format!("{whole}.{part}")
    }
}

/// The first amount in a value.
fn money(value: &Value) -> Option<Asked<'_>> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if let (Some(units), Some(asset)) = (text("units"), text("asset")) {
        let exponent = value.get("exponent").and_then(Value::as_u64).unwrap_or(0);
        let exponent = usize::try_from(exponent).unwrap_or(0);
        return Some(Asked { units, exponent, asset });
    }
    match value {
        Value::Object(fields) => fields.values().find_map(money),
        Value::Array(items) => items.iter().find_map(money),
        _ => None,
    }
}
