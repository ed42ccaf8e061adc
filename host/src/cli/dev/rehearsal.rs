//! Payments through the local router, one for each vector of `authorize`, and what follows one for each vector of `capture`,
//! `cancel` and `refund`: what a merchant would see of the adapter that was just saved.

use super::case::{Case, Ending};
use super::local::Local;
use super::order::{self, Order};
use super::provider::{Heard, Provider};
use crate::cli::say;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long an unknown outcome is waited for.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// What follows a payment that is held, and one that is captured.
const FOLLOW_UPS: [(&str, bool); 3] = [("capture", false), ("cancel", false), ("refund", true)];

/// What a vector is about, for one that is to be paid.
pub struct Part {
    /// The vector's name.
    pub name: String,
    /// Its number among those of its function.
    pub number: u64,
    /// The function's arguments.
    pub input: Vec<Value>,
    shows: String,
    function: String,
    ending: Ending,
    is_playable: bool,
}

/// What came of it.
#[derive(Default)]
pub struct Rehearsed {
    /// How many ended otherwise than their vector says.
    pub surprises: usize,
    /// The first payment's request, and its id.
    pub first: Option<(Value, String)>,
}

/// A run over all vectors.
struct Run<'a> {
    local: &'a Local,
    provider: &'a Provider,
    /// Whether what the provider was asked is told of each, not only of a surprise.
    is_wordy: bool,
    rehearsed: Rehearsed,
    /// Vectors whose payment is held, and captured: what others follow.
    bases: [Option<usize>; 2],
}

/// Pays each. `is_wordy`: what the provider was asked is told of each, not only of a surprise.
pub fn rehearse(local: &Local, provider: &Provider, is_wordy: bool) -> anyhow::Result<Rehearsed> {
    let parts: Vec<Part> = provider.with(|script| script.cases().iter().map(Part::of).collect());
    let mut run = Run {
        local,
        provider,
        is_wordy,
        rehearsed: Rehearsed::default(),
        bases: [None, None],
    };
    for (at, part) in parts
        .iter()
        .enumerate()
        .filter(|(_, part)| part.function == "authorize")
    {
        let order = order::payment(part, &local.merchant);
        if let Some(status) = run.play(part, order)? {
            let base = usize::from(status == "succeeded");
            if part.ending == Ending::Done && matches!(status.as_str(), "succeeded" | "requires_capture") {
                run.bases.get_mut(base).map(|it| it.get_or_insert(at));
            }
        }
    }
    for (function, is_captured) in FOLLOW_UPS {
        let base = run.bases.get(usize::from(is_captured)).copied().flatten();
        let base = base.and_then(|at| parts.get(at));
        for part in parts.iter().filter(|part| part.function == function) {
            let Some(base) = base else {
                let what = if is_captured { "captures" } else { "holds" };
                say(&format!(
                    "  {function}, {} ({}): not tried: no vector of authorize that was paid {what} a payment",
                    part.name, part.shows
                ))?;
                continue;
            };
            let paid = order::payment(base, &local.merchant).and_then(|order| order.send(&local.merchant));
            let order = paid.map(|paid| order::follow_up(part, function, &paid));
            run.play(part, order)?;
        }
    }
    Ok(run.rehearsed)
}

impl Part {
    fn of(case: &Case) -> Self {
        Self {
            name: case.name.clone(),
            number: case.number,
            input: case.input.clone(),
            shows: case.shows.clone(),
            function: case.function.clone(),
            ending: case.ending,
            is_playable: case.is_playable(),
        }
    }

    /// Whether that status is what the vector's outcome comes to.
    fn is_expected(&self, status: &str) -> bool {
        let is_open = matches!(status, "requires_action" | "processing" | "pending" | "unknown");
        let is_done = match self.function.as_str() {
            "authorize" => matches!(status, "succeeded" | "requires_capture"),
            "cancel" => status == "canceled",
            _ => status == "succeeded",
        };
        match self.ending {
            Ending::Done => is_done,
            // A payment that was not captured or canceled is held on.
            Ending::Refused => matches!(status, "failed" | "requires_payment_method" | "requires_capture"),
            // It may have been found out meanwhile.
            Ending::Pending | Ending::Unclear => is_open || is_done || status == "requires_capture",
            Ending::Absent => true,
        }
    }

    /// Whether no vector has an answer to that, and it is not another payment's.
    fn is_unshown(&self, it: &Heard, heard: &[Heard]) -> bool {
        let own = heard.iter().find(|it| it.by.as_ref() == Some(&self.name));
        let own = own.and_then(|it| it.about);
        it.by.is_none() && !it.is_absent && (it.about.is_none() || it.about == own)
    }

    /// Whether what was heard says all that there will be to say.
    fn is_told(&self, heard: &[Heard]) -> bool {
        let is_others = |it: &Heard| it.by.as_ref().is_some_and(|by| *by != self.name);
        let is_waiting = self.ending == Ending::Pending && heard.iter().any(is_others);
        is_waiting || heard.iter().any(|it| it.is_absent || self.is_unshown(it, heard))
    }

    /// What is wrong, or worth a word, with how it went.
    fn remark(&self, status: &str, heard: &[Heard]) -> (bool, &'static str) {
        let is_unheard = heard.iter().any(|it| self.is_unshown(it, heard));
        let is_open = matches!(status, "processing" | "pending" | "unknown");
        let is_told = heard.iter().any(|it| it.by.as_ref().is_some_and(|by| *by != self.name));
        if heard.is_empty() {
            (true, "; IT SENT NOTHING")
        } else if self.ending == Ending::Unclear && is_open && heard.iter().any(|it| it.is_absent) {
            (true, "; IT WAS TAKEN, AND WHAT IT ASKED FOR IS NOT THERE")
        } else if heard.iter().any(|it| it.by.as_ref() == Some(&self.name)) {
            match self.is_expected(status) {
                true if is_open && is_unheard && !is_told => (false, "; no vector shows what it asked for"),
                true => (false, ""),
                false => (true, "; THE VECTOR SAYS OTHERWISE"),
            }
        } else if is_unheard {
            (true, "; NO VECTOR SENDS ITS REQUEST")
        } else {
            (
                false,
                "; another vector was played: nothing in its request chooses this one",
            )
        }
    }
}

impl Run<'_> {
    /// Sends an order and says what became of it: the status, where it was sent.
    fn play(&mut self, part: &Part, order: anyhow::Result<Order>) -> anyhow::Result<Option<String>> {
        let what = format!("{}, {} ({})", part.function, part.name, part.shows);
        if !part.is_playable {
            say(&format!("  {what}: not tried: nothing of it reaches a provider"))?;
            return Ok(None);
        }
        self.provider.heard();
        let started = Instant::now();
        let order = match order {
            Ok(order) => order,
            Err(problem) => {
                say(&format!("  {what}: not tried: {problem}"))?;
                return Ok(None);
            }
        };
        let sent = match order.send(&self.local.merchant) {
            Ok(sent) => sent,
            Err(problem) => {
                say(&format!("  {what}: THE ROUTER REFUSES IT: {problem}"))?;
                self.rehearsed.surprises = self.rehearsed.surprises.saturating_add(1);
                return Ok(None);
            }
        };
        let first = order::status(&sent).to_owned();
        let (now, heard) = self.settled(part, &order, sent)?;
        let status = order::status(&now).to_owned();
        let (is_surprise, remark) = part.remark(&status, &heard);
        let way = if first == status {
            status.clone()
        } else {
            format!("{first}, then {status}")
        };
        say(&format!(
            "  {} of {}, {} ({}): {way}, {} ms, {}{}{remark}",
            order.what,
            order.shown,
            part.name,
            part.shows,
            started.elapsed().as_millis(),
            order::id(&now),
            order::why(&now),
        ))?;
        for it in heard.iter().filter(|_| self.is_wordy || is_surprise) {
            say(&format!("      {}", it.line))?;
        }
        self.rehearsed.surprises = self.rehearsed.surprises.saturating_add(usize::from(is_surprise));
        if part.function == "authorize" {
            let first = || (order.body.clone(), order::id(&now).to_owned());
            self.rehearsed.first.get_or_insert_with(first);
        }
        Ok(Some(status))
    }

    /// Where nobody knows, a moment later; and what the provider was asked.
    fn settled(&self, part: &Part, order: &Order, mut now: Value) -> anyhow::Result<(Value, Vec<Heard>)> {
        let started = Instant::now();
        let mut heard = self.provider.heard();
        let is_open = |value: &Value| matches!(order::status(value), "processing" | "pending" | "unknown");
        while is_open(&now) && !part.is_told(&heard) && started.elapsed() < SETTLES_WITHIN {
            std::thread::sleep(LOOK);
            heard.extend(self.provider.heard());
            now = self.local.merchant.get(&order.place(&now))?;
        }
        heard.extend(self.provider.heard());
        Ok((now, heard))
    }
}
