//! Test vectors over the compiled component: an operation, the provider's answers, the steps that are expected. The same
//! files that a Rust adapter's own tests read.

use super::dynamic::{from_json, to_json};
use super::places::misplaced;
use super::{Subject, one_line};
use crate::grants::path_fits;
use crate::guest;
use portolan_domain::operation::{Fault, FaultKind, reason};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;
use wasmtime::component::Val;

/// How often a call is begun on a busy machine.
const STARVED_MAX: usize = 5;
/// Characters of each of two answers that ought to be one.
const DIFFERENCE_TOLD: usize = 200;
/// When a vector happens that does not say.
const NOW_MS: u64 = 1_000;
/// The keys that an operation of a vector has.
const KEYS: u8 = 8;

/// One vector file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// What it shows.
    pub shows: String,
    /// `authorize`, `capture`, …; `refund-status` where an interface has a status of its own.
    pub function: String,
    /// The function's arguments between context and answers, in order.
    pub input: Vec<Value>,
    /// What the provider answers, in order.
    pub answers: Vec<Answered>,
    /// What makes a write idempotent that carries no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent_by: Option<String>,
    /// The channel's settings, where others than the kit's are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// When it happens, in milliseconds since 1970, where that is another time than the kit's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_ms: Option<u64>,
    /// The steps: one for each prefix of the answers.
    #[serde(default)]
    pub expect: Vec<Value>,
}

/// A provider's answer.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Status, and a body that is text or JSON.
    Response(u16, Value),
    /// The same with more headers.
    ResponseWith(u16, Vec<(String, String)>, Value),
    /// Not sent, and why.
    NotSent(String),
    /// Nobody knows, and why.
    Unknown(String),
}

/// The interface and function behind a vector's word.
fn place(word: &str) -> Option<(&'static str, &'static str)> {
    Some(match word {
        "authorize" => ("payments", "authorize"),
        "status" => ("payments", "status"),
        "resume" => ("actions", "resume"),
        "capture" => ("captures", "capture"),
        "cancel" => ("captures", "cancel"),
        "capture-status" | "cancel-status" => ("captures", "status"),
        "refund" => ("refunds", "refund"),
        "refund-status" => ("refunds", "status"),
        "reverse" => ("reversals", "reverse"),
        "reverse-status" => ("reversals", "status"),
        "quote" => ("exchange", "quote"),
        "convert" => ("exchange", "convert"),
        "exchange-status" => ("exchange", "status"),
        "pay" => ("payouts", "pay"),
        "payouts-status" => ("payouts", "status"),
        "poll" => ("feeds", "poll"),
        "start" => ("sessions", "start"),
        "receive" => ("notifications", "receive"),
        _ => return None,
    })
}

impl Vector {
    fn now(&self) -> u64 {
        self.now_ms.unwrap_or(NOW_MS)
    }
}

impl Answered {
    fn json(&self, at_ms: u64) -> Value {
        let response = |status: u16, more: &[(String, String)], body: &Value| {
            let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            let says_kind = more.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            let own = (!says_kind).then(|| json!({ "name": "content-type", "value": "application/json" }));
            let more = more.iter().map(|(name, value)| json!({ "name": name, "value": value }));
            let headers: Vec<Value> = own.into_iter().chain(more).collect();
            json!({ "Ok": { "status": status, "headers": headers, "body": text.as_bytes() } })
        };
        let reply = match self {
            Self::Response(status, body) => response(*status, &[], body),
            Self::ResponseWith(status, headers, body) => response(*status, headers, body),
            Self::NotSent(why) => json!({ "Err": { "NotSent": why } }),
            Self::Unknown(why) => json!({ "Err": { "Unknown": why } }),
        };
        json!({ "at_ms": at_ms, "reply": reply })
    }
}

/// Why a vector was not run to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Something is wrong with the vector, or with the adapter.
    Wrong(String),
    /// This machine is too busy to run it: that says nothing about either.
    Busy,
}

impl From<String> for Stopped {
    fn from(wrong: String) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<&str> for Stopped {
    fn from(wrong: &str) -> Self {
        Self::Wrong(wrong.to_owned())
    }
}

impl From<Stopped> for String {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Wrong(wrong) => wrong,
            Stopped::Busy => "this machine is too busy to run it".into(),
        }
    }
}

/// What one call gave.
#[derive(Clone, PartialEq, Debug)]
pub enum Gave {
    /// A step, as vectors write it.
    Step(Value),
    /// It failed: a trap, a limit.
    Failed(Fault),
}

impl Gave {
    fn is_out_of_time(&self) -> bool {
        matches!(self, Self::Failed(fault) if fault.kind == FaultKind::Timeout)
    }

    fn in_words(&self) -> String {
        match self {
            Self::Step(step) => step.to_string(),
            Self::Failed(fault) => fault.to_string(),
        }
    }
}

/// What is wrong with two answers to the same call.
pub(super) fn differs(first: &Gave, again: &Gave) -> Option<String> {
    if first == again {
        return None;
    }
    let told = |gave: &Gave| -> String { gave.in_words().chars().take(DIFFERENCE_TOLD).collect() };
    let (first, again) = (told(first), told(again));
    Some(format!(
        "the same arguments gave another step, {first} and then {again}"
    ))
}

impl Subject<'_> {
    pub(crate) fn run(&self, vector: &Vector) -> Result<Vec<Value>, Stopped> {
        let mut steps = vec![];
        for rounds in 0..=vector.answers.len() {
            let answers = vector.answers.get(..rounds).unwrap_or_default();
            let (first, again) = self.call_twice(vector, answers)?;
            if let Some(differs) = differs(&first, &again) {
                return Err(format!("{differs}: an adapter is a pure function").into());
            }
            let step = match first {
                Gave::Step(step) => step,
                Gave::Failed(fault) => return Err(format!("after {rounds} answers: {fault}").into()),
            };
            let is_last = step.get("send").is_none();
            steps.push(step);
            if is_last {
                break;
            }
        }
        let writes = steps.iter().filter(|step| self.is_write(step));
        one_key_per_write(writes, vector.idempotent_by.is_some())?;
        steps.iter().try_for_each(known_reasons)?;
        Ok(steps)
    }

    /// One call. One that was starved by a busy machine says nothing about the adapter: it is made again.
    pub(super) fn call(&self, vector: &Vector, answers: &[Answered]) -> Result<Gave, Stopped> {
        for _ in 0..STARVED_MAX {
            if let Some(gave) = self.call_once(vector, answers)? {
                return Ok(gave);
            }
        }
        Err(Stopped::Busy)
    }

    /// The same call twice. Out of time once and not the other time is the machine's trouble: without a clock the same code
    /// does the same work.
    pub(super) fn call_twice(&self, vector: &Vector, answers: &[Answered]) -> Result<(Gave, Gave), Stopped> {
        for _ in 0..STARVED_MAX {
            let (first, again) = (self.call(vector, answers)?, self.call(vector, answers)?);
            if first.is_out_of_time() == again.is_out_of_time() {
                return Ok((first, again));
            }
        }
        Err(Stopped::Busy)
    }

    /// Whether a step is a write, as a router would see it: by the method, and by what the adapter asks to be harmless.
    pub(super) fn is_write(&self, step: &Value) -> bool {
        let request = step.pointer("/send/request").and_then(Value::as_str);
        let mut words = request.unwrap_or_default().splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (endpoint, method, path) = (next(), next(), next());
        let is_harmless = self
            .manifest
            .harmless
            .iter()
            .any(|ask| ask.endpoint == endpoint && ask.method == method && path_fits(&ask.path, path));
        !(endpoint.is_empty() || is_harmless || ["GET", "HEAD"].contains(&method))
    }

    /// `None`: it was starved.
    fn call_once(&self, vector: &Vector, answers: &[Answered]) -> Result<Option<Gave>, String> {
        let (interface, function) =
            place(&vector.function).ok_or_else(|| format!("no function is called {:?}", vector.function))?;
        let (scope, prepared) = (self.scope()?, self.prepared);
        prepared.clock.begin();
        let mut store = guest::store(prepared.pre.engine(), scope.bounds(), Box::new(scope.ring()));
        let instance = prepared.pre.instantiate(&mut store);
        let called = instance.and_then(|instance| {
            let name = format!("portolan:channel/{interface}@0.1.0");
            let found = instance.get_export_index(&mut store, None, &name);
            let found = found.and_then(|at| instance.get_export_index(&mut store, Some(&at), function));
            let found = found.and_then(|at| instance.get_func(&mut store, at));
            let Some(callee) = found else {
                return Ok(Err(format!("the component has no {interface}.{function}")));
            };
            let at_ms = (0..).map(|n| vector.now().saturating_add(n));
            let answers: Vec<Value> = at_ms.zip(answers).map(|(at_ms, it)| it.json(at_ms)).collect();
            let given = std::iter::once(self.context(vector)).chain(vector.input.iter().cloned());
            let given: Vec<Value> = given.chain([Value::from(answers)]).collect();
            let kinds: Vec<_> = callee.ty(&store).params().map(|(_, kind)| kind).collect();
            if kinds.len() != given.len() {
                return Ok(Err(format!(
                    "the function takes {} arguments of its own",
                    kinds.len().saturating_sub(2)
                )));
            }
            let values = kinds.iter().zip(&given).enumerate();
            let values: Result<Vec<Val>, String> = values
                .map(|(n, (kind, json))| from_json(kind, json, &format!("input/{}", n.saturating_sub(1))))
                .collect();
            let values = match values {
                Ok(values) => values,
                Err(wrong) => return Ok(Err(wrong)),
            };
            let mut results = [Val::Bool(false)];
            callee.call(&mut store, &values, &mut results)?;
            let [result] = results;
            Ok(Ok(to_json(&result)))
        });
        match called {
            Ok(Ok(result)) => {
                scope.count(&guest::traces(&mut store), None);
                let request = result.pointer("/Ok/Send");
                let wrong = request.and_then(|it| misplaced(self.manifest, it, &vector.input));
                match wrong {
                    Some(problem) => Ok(Some(Gave::Failed(Fault {
                        kind: FaultKind::NotGranted,
                        text: problem,
                    }))),
                    None => Ok(Some(Gave::Step(step_json(&result)))),
                }
            }
            Ok(Err(wrong)) => Err(wrong),
            Err(error) => {
                let (fault, traces) = (guest::fault(&store, &error), guest::traces(&mut store));
                scope.count(&traces, Some(&fault));
                tracing::debug!(error = one_line(&error), "a call failed");
                let is_starved = fault.kind == FaultKind::Timeout && scope.was_starved(&traces);
                Ok((!is_starved).then_some(Gave::Failed(fault)))
            }
        }
    }

    fn context(&self, vector: &Vector) -> Value {
        let named = [
            "access_token",
            "api_key",
            "client_id",
            "client_secret",
            "consent",
            "session:acquirer",
            "session:airwallex",
        ];
        let asked = self.manifest.secrets.iter().map(|ask| ask.name.as_str());
        let mut names: Vec<&str> = named.into_iter().chain(asked).collect();
        names.sort_unstable();
        names.dedup();
        let secrets: Vec<Value> = names
            .iter()
            .map(|name| json!([name, format!("handle-{name}")]))
            .collect();
        json!({
            "operation": "op_vector",
            "keys": (1..=KEYS).map(|n| format!("key-{n}")).collect::<Vec<_>>(),
            "now_ms": vector.now(),
            "entropy": vec![7_u8; 32],
            "settings": vector.settings.as_deref().unwrap_or(r#"{"client_id":"CLIENT_1"}"#),
            "secrets": secrets,
            "notify_url": "https://router.example/notify/channel",
            "return_url": "https://router.example/return/op",
            "extra": [],
        })
    }
}

/// A result as vectors write steps.
fn step_json(result: &Value) -> Value {
    if let Some(fault) = result.get("Err") {
        return json!({ "fault": fault });
    }
    let step = result.get("Ok").unwrap_or(&Value::Null);
    let Some(request) = step.get("Send") else {
        return json!({ "done": step.get("Done").cloned().unwrap_or(Value::Null) });
    };
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let headers = request.get("headers").and_then(Value::as_array);
    let header = |header: &Value| {
        let part = |name: &str| header.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{}: {}", part("name"), part("value"))
    };
    let body = request.get("body").and_then(Value::as_array);
    let bytes: Vec<u8> = body
        .into_iter()
        .flatten()
        .filter_map(|it| u8::try_from(it.as_u64()?).ok())
        .collect();
    json!({ "send": {
        "request": format!("{} {} {}", text("endpoint"), text("method"), text("path")),
        "headers": headers.into_iter().flatten().map(header).collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(&bytes),
        "effect": format!("Effect::{}", text("effect")),
    }})
}

/// A decline's reason is one that merchants are told.
fn known_reasons(step: &Value) -> Result<(), String> {
    let text = |name: &str| step.get(name).and_then(Value::as_str);
    if let (Some(word), Some(_)) = (text("reason"), text("provider_code"))
        && reason::known(word) != word
    {
        return Err(format!(
            "the reason {word:?} is not one that merchants are told: wit/DECLINES.md has them"
        ));
    }
    match step {
        Value::Object(fields) => fields.values().try_for_each(known_reasons),
        Value::Array(items) => items.iter().try_for_each(known_reasons),
        _ => Ok(()),
    }
}

/// The n-th key stands in one write alone.
fn one_key_per_write<'a>(writes: impl Iterator<Item = &'a Value>, is_keyless: bool) -> Result<(), String> {
    let mut used = HashSet::new();
    for write in writes {
        let text = write.to_string();
        match (1..=KEYS)
            .map(|n| format!("key-{n}"))
            .find(|key| text.contains(key.as_str()))
        {
            Some(key) if !used.insert(key.clone()) => return Err(format!("{key} stands in two writes")),
            Some(_) => {}
            None if is_keyless => {}
            None => {
                return Err(
                    "a write without idempotency key: say `idempotent_by` if the provider has another word".into(),
                );
            }
        }
    }
    Ok(())
}
