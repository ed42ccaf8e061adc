//! Merchants' rules about routes: a set is read and checked when it is written ([`Compiled::read`]), and judged when a payment
//! comes ([`RuleBook`]). Conditions are CEL; they see the facts of `facts.rs` and nothing else, and cannot loop. What a rule may
//! ask for is the domain's; what is made of it is the route's business.

mod check;
mod document;
mod facts;
mod limits;
mod sample;
mod written;

pub use check::ENGINE;
pub use document::{Compiled, Problem};
pub use facts::Sample;

use arc_swap::ArcSwap;
use portolan_domain::ids::{MerchantId, Mode};
use portolan_domain::ports::Rules;
use portolan_domain::routing::RouteFacts;
use portolan_domain::routing::rule::{RuleSet, Rulings, SetName};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Sets = HashMap<(Mode, MerchantId), Arc<(SetName, Compiled)>>;

/// The sets that are in force. Replaced as a whole; a payment that is being routed keeps the one that it began with.
#[derive(Default)]
pub struct RuleBook {
    sets: ArcSwap<Sets>,
    unread: AtomicU64,
}

impl RuleBook {
    /// Puts a set in force. One that cannot be read any more, by an engine that came later, is left out: it asks for nothing,
    /// and the log says so.
    pub fn put(&self, set: &RuleSet) {
        let name = SetName {
            version: set.version,
            engine: set.engine.clone(),
        };
        let compiled = match Compiled::reread(&set.source) {
            Ok(compiled) => compiled,
            Err(problems) => {
                let problem = problems.first().map(|it| it.message.as_str()).unwrap_or_default();
                tracing::error!(merchant = %set.merchant, version = set.version, engine = set.engine, problem,
                    "a rule set cannot be read by this version of the router: it asks for nothing");
                self.unread.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let entry = Arc::new((name, compiled));
        self.sets.rcu(|sets| {
            let mut sets = Sets::clone(sets);
            let place = (set.mode, set.merchant.clone());
            // Of two that were written at the same time the later one is in force, whoever comes here first.
            if sets.get(&place).is_none_or(|known| known.0.version < set.version) {
                sets.insert(place, entry.clone());
            }
            sets
        });
    }

    /// How many sets could not be read since the start: what they refuse and limit is let through.
    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }
}

impl Rules for RuleBook {
    fn rulings(&self, facts: &RouteFacts<'_>) -> Rulings {
        let sets = self.sets.load();
        match sets.get(&(facts.mode, facts.merchant.clone())) {
            Some(set) => Rulings {
                set: Some(set.0.clone()),
                ..set.1.judge(facts)
            },
            None => Rulings::default(),
        }
    }
}
