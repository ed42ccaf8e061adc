//! Test vectors, run natively in milliseconds: an operation, the answers of the provider, the steps that are expected.
//! `UPDATE_EXPECT=1 cargo test` writes the steps that were seen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test kit fails by panicking"
)]

use crate::types::{Answer, Context, Fault, Header, NoResponse, Response};
use crate::{Ctx, Progress, replay};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::future::Future;
use std::path::Path;
use std::rc::Rc;

/// When a vector happens that does not say.
const NOW_MS: u64 = 1_000;

/// One vector file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// What it shows.
    pub shows: String,
    /// `authorize`, `capture`, …
    pub function: String,
    /// The function's arguments between context and answers, in order.
    pub input: Vec<Value>,
    /// What the provider answers, in order.
    pub answers: Vec<Reply>,
    /// What makes a write idempotent that carries no key: the provider's word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent_by: Option<String>,
    /// The steps: one for each prefix of the answers.
    #[serde(default)]
    pub expect: Vec<Value>,
    /// The channel's settings, where others than the kit's are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// When it happens, in milliseconds since 1970, where that is another time than the kit's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_ms: Option<u64>,
}

/// A provider's answer.
#[derive(Serialize, Deserialize, Clone)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// A whole reply: status, and a body that is text or JSON.
    Response(u16, Value),
    /// The same with more headers: names and values, before the body.
    ResponseWith(u16, Vec<(String, String)>, Value),
    /// Not sent, and why.
    NotSent(String),
    /// Nobody knows, and why.
    Unknown(String),
}

impl Vector {
    /// The same vector on a channel with these settings.
    pub fn with_settings(&self, settings: &str) -> Self {
        Self {
            shows: self.shows.clone(),
            function: self.function.clone(),
            input: self.input.clone(),
            answers: self.answers.clone(),
            idempotent_by: self.idempotent_by.clone(),
            expect: self.expect.clone(),
            settings: Some(settings.to_owned()),
            now_ms: self.now_ms,
        }
    }

    /// One of the function's arguments.
    pub fn argument<T: DeserializeOwned>(&self, at: usize) -> T {
        let value = self.input.get(at).cloned().unwrap_or(Value::Null);
        serde_json::from_value(value).unwrap_or_else(|error| panic!("argument {at} of {}: {error}", self.function))
    }

    /// Runs the operation over every prefix of the answers, each twice, and returns the steps.
    pub fn steps<T: Serialize, F: Future<Output = Result<T, Fault>>>(
        &self,
        operation: impl Fn(Rc<Ctx>) -> F,
    ) -> Vec<Value> {
        let mut steps = vec![];
        for rounds in 0..=self.answers.len() {
            let context = || {
                let context = context();
                let settings = self.settings.clone().unwrap_or(context.settings);
                Context {
                    settings,
                    now_ms: self.now_ms.unwrap_or(NOW_MS),
                    ..context
                }
            };
            let step = || step_json(replay(context(), self.answers(rounds), &operation));
            let first = step();
            assert_eq!(first, step(), "{}: the same arguments gave another step", self.function);
            let is_last = first.get("send").is_none();
            steps.push(first);
            if is_last {
                break;
            }
        }
        steps
    }

    fn answers(&self, rounds: usize) -> Vec<Answer> {
        let answer = |(at, reply): (usize, &Reply)| Answer {
            at_ms: self.now_ms.unwrap_or(NOW_MS) + at as u64,
            reply: match reply.clone() {
                Reply::Response(status, body) => Ok(response(status, vec![], &body)),
                Reply::ResponseWith(status, headers, body) => Ok(response(status, headers, &body)),
                Reply::NotSent(why) => Err(NoResponse::NotSent(why)),
                Reply::Unknown(why) => Err(NoResponse::Unknown(why)),
            },
        };
        self.answers.iter().take(rounds).enumerate().map(answer).collect()
    }
}

fn response(status: u16, more: Vec<(String, String)>, body: &Value) -> Response {
    let says_kind = more.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let own = (!says_kind).then(|| ("content-type".to_owned(), "application/json".to_owned()));
    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    Response {
        status,
        headers: own
            .into_iter()
            .chain(more)
            .map(|(name, value)| Header { name, value })
            .collect(),
        body: text.into_bytes(),
    }
}

/// The context of every vector.
pub fn context() -> Context {
    Context {
        operation: "op_vector".into(),
        keys: (1..=8).map(|n| format!("key-{n}")).collect(),
        now_ms: NOW_MS,
        entropy: vec![7; 32],
        settings: r#"{"client_id":"CLIENT_1"}"#.into(),
        secrets: [
            "access_token",
            "api_key",
            "client_id",
            "client_secret",
            "consent",
            "session:acquirer",
            "session:airwallex",
        ]
        .map(|name| (name.to_owned(), format!("handle-{name}")))
        .into(),
        notify_url: "https://router.example/notify/channel".into(),
        return_url: "https://router.example/return/op".into(),
        extra: vec![],
    }
}

fn step_json<T: Serialize>(step: Result<Progress<T>, Fault>) -> Value {
    match step {
        Ok(Progress::Send(request)) => {
            let headers: Vec<_> = request
                .headers
                .iter()
                .map(|h| format!("{}: {}", h.name, h.value))
                .collect();
            json!({ "send": {
                "request": format!("{} {} {}", request.endpoint, request.method, request.path), "headers": headers,
                "body": String::from_utf8_lossy(&request.body), "effect": format!("{:?}", request.effect),
            }})
        }
        Ok(Progress::Done(outcome)) => json!({ "done": outcome }),
        Err(fault) => json!({ "fault": fault }),
    }
}

/// Runs every `*.json` of a folder. `run` maps a vector to the adapter's function.
pub fn check_folder(folder: &Path, run: impl Fn(&Vector) -> Vec<Value>) {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of the vectors") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).expect("a vector");
        let mut vector: Vector =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let steps = run(&vector);
        one_key_per_write(&steps, vector.idempotent_by.is_some(), &path);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            vector.expect = steps;
            let text = serde_json::to_string_pretty(&vector).expect("JSON");
            std::fs::write(&path, format!("{text}\n")).expect("writing the vector");
        } else {
            assert_eq!(
                Value::from(steps),
                Value::from(vector.expect),
                "{} ({})",
                path.display(),
                vector.shows
            );
        }
    }
    assert!(seen > 0, "{} has no vectors", folder.display());
}

/// The n-th key of [`context`] stands in one write alone: in a header, or in the body, wherever the provider takes it.
fn one_key_per_write(steps: &[Value], is_keyless: bool, path: &Path) {
    let writes = steps
        .iter()
        .filter_map(|step| step.get("send"))
        .filter(|send| send.get("effect") == Some(&json!("Write")));
    let mut used = std::collections::HashSet::new();
    for write in writes {
        let text = write.to_string();
        let key = (1..=8)
            .map(|n| format!("key-{n}"))
            .find(|key| text.contains(key.as_str()));
        let Some(key) = key else {
            assert!(is_keyless, "{}: a write without idempotency key", path.display());
            continue;
        };
        assert!(used.insert(key), "{}: one key in two writes", path.display());
    }
}
