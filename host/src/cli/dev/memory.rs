//! What the provider has taken so far, by every name that somebody may ask for it with. It decides no answer.

use super::case::{Case, Ending, said};
use super::leaves::walk;
use super::sample::Bound;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The contract's word for what came to nothing.
pub const FAILED: &str = "Failed";

/// Texts of the vectors that name something.
pub struct Names {
    /// All of them: the merchant's, the router's, the provider's.
    pub all: BTreeSet<String>,
    /// Those that the provider makes: another one for each payment.
    pub ids: BTreeSet<String>,
}

impl Names {
    /// What the provider makes are texts of answers that stand in requests and references too, of whatever vector. Each vector
    /// learns them: an id that its own answers do not show may stand in its path.
    pub fn of(cases: &mut [Case]) -> Self {
        let mut all: BTreeSet<String> = cases.iter().flat_map(Case::names).collect();
        let asked: BTreeSet<&String> = cases.iter().flat_map(Case::sent).chain(&all).collect();
        let is_asked = |text: &String| asked.iter().any(|it| it.contains(text.as_str()));
        let made = cases.iter().flat_map(Case::made).filter(is_asked);
        let references = cases.iter().filter_map(|case| case.reference.clone());
        let ids: BTreeSet<String> = made.chain(references).collect();
        all.extend(ids.iter().cloned());
        for case in cases {
            case.samples.learn(&json!({ "reference": ids }));
        }
        Self { all, ids }
    }
}

/// Something that was taken.
#[derive(Default)]
struct Taken {
    function: String,
    amount: Option<String>,
    asset: Option<String>,
    /// Sample and real id.
    ids: BTreeMap<String, String>,
    reference: Option<String>,
    state: Option<String>,
}

/// What a request names, by its place: something of its own function, and something that it follows.
#[derive(Clone, Copy)]
pub struct Found {
    /// Of its own function.
    pub own: Option<usize>,
    /// Of another.
    pub other: Option<usize>,
}

/// All of it.
#[derive(Default)]
pub struct Memory {
    taken: Vec<Taken>,
    known_by: HashMap<String, Vec<usize>>,
    made: u64,
}

impl Memory {
    /// How much there is to remember.
    pub fn len(&self) -> usize {
        self.taken.len().max(self.known_by.len())
    }

    /// The state that something is in, where it has one.
    pub fn state(&self, at: usize) -> Option<&str> {
        self.taken.get(at)?.state.as_deref()
    }

    /// What a request names. `names`: the samples that count.
    pub fn find(&self, names: &BTreeSet<String>, bound: &Bound, function: &str) -> Found {
        let texts = bound.texts.iter().filter(|(sample, _)| names.contains(*sample));
        let found = texts.filter_map(|(_, text)| self.known_by.get(text));
        let found: Vec<usize> = found.flatten().copied().collect();
        let is_own = |at: &&usize| self.taken.get(**at).is_some_and(|it| it.function == function);
        Found {
            own: found.iter().rev().find(is_own).copied(),
            other: found.iter().find(|at| !is_own(at)).copied(),
        }
    }

    /// What a request says, and what is known of what it names.
    pub fn known(&self, case: &Case, at: usize, said: &Bound) -> Bound {
        let mut bound = said.clone();
        let Some(taken) = self.taken.get(at) else { return bound };
        let is_same = asked_about(&case.function) == taken.function;
        // What follows a payment may have no amount of its own.
        let is_part = !is_same && case.samples.whole.is_some();
        let amount = if is_part { &mut bound.whole } else { &mut bound.amount };
        *amount = amount.take().or_else(|| taken.amount.clone());
        bound.asset = bound.asset.or_else(|| taken.asset.clone());
        for (sample, id) in &taken.ids {
            bound.texts.entry(sample.clone()).or_insert_with(|| id.clone());
        }
        if let (true, Some(sample), Some(reference)) = (is_same, &case.reference, &taken.reference) {
            bound.texts.insert(sample.clone(), reference.clone());
        }
        bound
    }

    /// Keeps what one request of a vector did, and says where; `bound` gets new ids where its answer has some.
    pub fn take(&mut self, (case, line): (&Case, usize), found: Found, names: &Names, bound: &mut Bound) -> usize {
        self.make_ids((case, line), &names.ids, bound);
        let is_last = line.saturating_add(1) == case.lines.len();
        let is_refused = case.ending == Ending::Refused;
        let state = if is_refused {
            Some(FAILED.to_owned())
        } else {
            case.state.clone()
        };
        if let Some(parent) = found
            .other
            .and_then(|at| self.taken.get_mut(at))
            .filter(|_| !is_refused)
        {
            parent.state = after(&case.function).map(str::to_owned).or(parent.state.take());
        }
        let place = found.own.unwrap_or(self.taken.len());
        if place == self.taken.len() {
            self.taken.push(Taken::default());
        }
        let Some(taken) = self.taken.get_mut(place) else {
            return place;
        };
        taken.function.clone_from(&case.function);
        taken.amount = bound.amount.clone().or(taken.amount.take());
        taken.asset = bound.asset.clone().or(taken.asset.take());
        taken.state = state.filter(|_| is_last).or(taken.state.take());
        for (sample, text) in &bound.texts {
            if names.ids.contains(sample) {
                taken.ids.insert(sample.clone(), text.clone());
            }
            // What it follows keeps its names.
            let is_own = found.other.is_none() || case.reference.as_ref() == Some(sample) || sample.starts_with("key-");
            if names.all.contains(sample) && is_own {
                let places = self.known_by.entry(text.clone()).or_default();
                places.retain(|known| *known != place);
                places.push(place);
            }
        }
        let own = case
            .reference
            .as_ref()
            .and_then(|sample| taken.ids.get(sample).cloned());
        taken.reference = own.or(taken.reference.take());
        place
    }

    /// Another id in place of each that the answer has and nobody has heard of yet.
    fn make_ids(&mut self, (case, line): (&Case, usize), ids: &BTreeSet<String>, bound: &mut Bound) {
        let mut texts = BTreeSet::new();
        let answer = case
            .lines
            .get(line)
            .and_then(|line| said(&line.answer))
            .unwrap_or_default();
        walk(&answer, String::new(), &mut |_, text| {
            texts.insert(text.to_owned());
        });
        for id in ids
            .iter()
            .filter(|id| texts.iter().any(|text| text.contains(id.as_str())))
        {
            if !bound.texts.contains_key(id) {
                self.made = self.made.saturating_add(1);
                bound.texts.insert(id.clone(), another(id, self.made));
            }
        }
    }
}

/// The function that a question is about.
pub fn asked_about(function: &str) -> &str {
    match function {
        "status" => "authorize",
        "payouts-status" => "pay",
        "exchange-status" => "convert",
        other => other.strip_suffix("-status").unwrap_or(other),
    }
}

/// The state that a payment is in after it.
fn after(function: &str) -> Option<&'static str> {
    match function {
        "capture" => Some("Captured"),
        "cancel" => Some("Canceled"),
        "reverse" => Some("Reversed"),
        _ => None,
    }
}

/// Another id of the same kind.
fn another(id: &str, number: u64) -> String {
    let is_uuid = id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if is_uuid {
        return format!("{}{number:012x}", id.get(..24).unwrap_or_default());
    }
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        format!("{id}{number:04}")
    } else {
        format!("{id}_{number}")
    }
}
