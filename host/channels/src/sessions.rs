//! Opening sessions with providers, one at a time per channel: the adapter says how, the host cuts the token out of the
//! reply before the adapter sees it, and keeps it.

use crate::abi::{SessionStep, exported::sessions::TokenAt};
use crate::registry::Registry;
use crate::table::Line;
use portolan_domain::exchange::{Answer, Body, Effect, Reply, Response};
use portolan_domain::operation::{Context, Fault, FaultKind};
use portolan_egress::Sent;
use std::time::Duration;

/// How much earlier than told a session counts as ended.
const EARLY_MS: u64 = 5_000;
/// The longest that a session is kept.
const LONGEST_S: u32 = 24 * 60 * 60;
/// A text of this length or more in a session's reply may be the token.
const TOKEN_MIN: usize = 8;

fn fault(text: String) -> Fault {
    Fault {
        kind: FaultKind::Misconfigured,
        text,
    }
}

impl Registry {
    /// Makes sure that the channel's sessions are open.
    pub(crate) async fn ensure_sessions(&self, line: &Line, context: &Context) -> Result<(), Fault> {
        for name in &line.adapter.manifest.sessions {
            if self.vault.has_session(&line.config.id, name, self.ambient.now_ms()) {
                continue;
            }
            let asked_ms = self.ambient.now_ms();
            let mut last = line.opening.lock().await;
            if self.vault.has_session(&line.config.id, name, self.ambient.now_ms()) {
                continue;
            }
            // Whoever waited while it failed need not wait for the same again.
            if let Some((_, fault)) = last.as_ref().filter(|(at_ms, _)| *at_ms >= asked_ms) {
                return Err(fault.clone());
            }
            let opened = self.open_session(line, name, context).await;
            *last = opened
                .as_ref()
                .err()
                .map(|fault| (self.ambient.now_ms(), fault.clone()));
            opened?;
        }
        Ok(())
    }

    async fn open_session(&self, line: &Line, name: &str, context: &Context) -> Result<(), Fault> {
        let mut masked: Vec<Answer> = vec![];
        let mut last_raw: Option<Sent> = None;
        for _ in 0..self.limits.rounds {
            let scope = self.scope(line, context.operation, context.now_ms, context.entropy);
            match line.adapter.session_step(&scope, context, name, &masked)? {
                SessionStep::Opened(opened) => {
                    let token = last_raw.as_ref().and_then(|raw| token(raw, &opened.token));
                    let token =
                        token.ok_or_else(|| fault("the session's token is not where the adapter says".into()))?;
                    let lives_ms = u64::from(opened.lives_s.min(LONGEST_S)).saturating_mul(1_000);
                    let until_ms = self.ambient.now_ms().saturating_add(lives_ms).saturating_sub(EARLY_MS);
                    self.vault.keep_session(&line.config.id, name, token, until_ms);
                    return Ok(());
                }
                SessionStep::Send(request) => {
                    if line.grants.effect(&request)? == Effect::Write {
                        let text = format!("{} {} is not granted as harmless", request.method, request.path);
                        return Err(Fault {
                            kind: FaultKind::NotGranted,
                            text,
                        });
                    }
                    self.refuse_stopped(&line.config.id, &request.endpoint)?;
                    let fills = line.grants.fills(&request.endpoint, context);
                    let wire = self.vault.fill(&line.config.id, &request, &fills, None)?;
                    let endpoint = line.endpoint(&request.endpoint)?;
                    let longest = Duration::from_millis(u64::from(request.timeout_ms));
                    let sent = self.egress.send(endpoint, wire, longest).await;
                    masked.push(Answer {
                        at_ms: self.ambient.now_ms(),
                        reply: mask(&sent),
                    });
                    last_raw = Some(sent);
                }
            }
        }
        Err(Fault {
            kind: FaultKind::Rounds,
            text: "the session is not open after the granted rounds".into(),
        })
    }
}

/// The reply as the adapter may see it: every longer text is gone.
fn mask(sent: &Sent) -> Reply {
    match sent {
        Sent::NotSent(text) => Reply::NotSent(text.clone()),
        Sent::Unknown(text) => Reply::Unknown(text.clone()),
        Sent::Response { status, body, .. } => {
            let mut parsed = serde_json::from_slice(body).unwrap_or(serde_json::Value::Null);
            mask_texts(&mut parsed);
            Reply::Response(Response {
                status: *status,
                headers: vec![],
                body: Body::Text(parsed.to_string()),
            })
        }
    }
}

fn mask_texts(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.len() >= TOKEN_MIN => *text = "masked".into(),
        serde_json::Value::Array(items) => items.iter_mut().for_each(mask_texts),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(mask_texts),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

fn token(sent: &Sent, at: &TokenAt) -> Option<Vec<u8>> {
    let Sent::Response { headers, body, .. } = sent else {
        return None;
    };
    match at {
        TokenAt::JsonPointer(pointer) => {
            let parsed: serde_json::Value = serde_json::from_slice(body).ok()?;
            Some(parsed.pointer(pointer)?.as_str()?.as_bytes().to_vec())
        }
        TokenAt::Header(name) => headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone()),
    }
}
