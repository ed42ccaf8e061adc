//! What becomes of a deposit that counts: a chain that goes further back than the confirmations takes it away again, mostly for
//! some blocks. It is told as a dispute.

use crate::Settings;
use crate::deposits::{Arrived, LOOK_AGAIN_MS};
use crate::sweep::wanted;
use alloy_primitives::U256;
use portolan_adapter::payments::{Standing, State};
use portolan_adapter::types::Target;
use portolan_adapter::{Ctx, json};

/// The reference of a dispute about what the chain took back, with how much that is behind it.
const REORGANIZED: &str = "reorganization";
/// How often a deposit that counts is looked at: each time after half of its age, between these.
const WATCH_MS: (u64, u64) = (1_000, 600_000);

/// When a deposit that counts is looked at again.
pub fn watch(age_ms: u64) -> (String, String) {
    let next_ms = (age_ms / 2).clamp(WATCH_MS.0, WATCH_MS.1);
    ("watch".into(), next_ms.to_string())
}

/// What the host tells of the target beside its fields.
pub fn told<'a>(of: &'a Target, name: &str) -> Option<&'a str> {
    let found = of.extra.iter().find(|(it, _)| it == name);
    found.map(|(_, text)| text.as_str())
}

/// A deposit that counted: a chain that goes further back than the confirmations takes it away again, or some of it. Mostly it
/// comes back with the next blocks; what has not come after twice the watch is lost, until it comes.
pub fn watched(ctx: &Ctx, settings: &Settings, of: &Target, (taken, arrived): (U256, &Arrived)) -> Standing {
    let since_ms = told(of, "captured-ms")
        .and_then(|at| at.parse().ok())
        .unwrap_or(of.started_ms);
    let age_ms = ctx.now_ms().saturating_sub(since_ms);
    let missing = taken.saturating_sub(arrived.all);
    // Seen, and deep: a node that lags behind by some blocks has taken nothing away.
    let is_there = missing.is_zero() && arrived.confirmed >= taken;
    let may_come = age_ms < settings.watch_ms.saturating_mul(2);
    let known = || {
        of.extra
            .iter()
            .filter(|(name, _)| name == "disputed")
            .map(|(_, it)| it.as_str())
    };
    let current = (!missing.is_zero()).then(|| format!("{REORGANIZED} {missing}"));
    let mut extra: Vec<(String, String)> = vec![];
    // What is missing now takes the place of what was missing before.
    for other in known().filter(|it| current.as_deref() != Some(it) && (is_there || current.is_some())) {
        extra.extend(
            other
                .strip_prefix(REORGANIZED)
                .map(|units| dispute(other, "won", units.trim())),
        );
    }
    if let Some(current) = &current {
        let state = if may_come { "under_review" } else { "lost" };
        extra.push(dispute(current, state, &missing.to_string()));
    }
    let is_open = (current.is_some() && may_come) || (known().next().is_some() && !is_there && current.is_none());
    if is_open || age_ms < settings.watch_ms {
        extra.push(watch(age_ms));
    }
    extra.extend(wanted(settings, taken, age_ms).filter(|_| is_there));
    Standing {
        reference: String::new(),
        state: State::Captured,
        authorized: None,
        captured: Some(settings.money(taken)),
        refunded: None,
        received: is_there.then(|| settings.money(arrived.confirmed)),
        fee: None,
        declined: None,
        progress: Some(arrived.progress.clone()),
        check_after_ms: LOOK_AGAIN_MS,
        memo: None,
        extra,
    }
}

fn dispute(reference: &str, state: &str, units: &str) -> (String, String) {
    let body = json!({ "reference": reference, "state": state, "units": units, "reason": REORGANIZED });
    ("dispute".to_owned(), body.to_string())
}
