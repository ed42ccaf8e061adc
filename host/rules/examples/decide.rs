//! What a decision costs: the plan of 20 channels, the judgement of 50 rules, both together, and what 100,000 learnt weights
//! take in memory. `cargo xtask bench --routes` runs it for release.
#![allow(clippy::print_stdout, reason = "what it measures is what it prints")]

use portolan_domain::channel::{ChannelFacts, CostRule};
use portolan_domain::ids::{ChannelId, Mode, Name};
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::Kind;
use portolan_domain::routing::health::Standing;
use portolan_domain::routing::learner::{Learner, Segment};
use portolan_domain::routing::rule::Rulings;
use portolan_domain::routing::{ChannelState, Market, Places, RouteFacts, Subjects, plan};
use portolan_rules::Compiled;
use std::time::Instant;

const CHANNELS: usize = 20;
const RULES: usize = 50;
const TIMES: u32 = 20_000;

fn well(_: &ChannelId) -> ChannelState {
    ChannelState {
        standing: Standing::Well,
        in_flight: 0,
    }
}

fn channels() -> Option<Vec<ChannelFacts>> {
    let channel = |n: usize| {
        let id = Name::parse(&format!("channel-{n}"))?;
        Some(ChannelFacts {
            methods: vec!["card".into()],
            kinds: vec![Kind::Authorize, Kind::Capture],
            adapter: "0123456789abcdef".into(),
            costs: vec![CostRule {
                currency: None,
                network: None,
                fixed: 25,
                bps: 100 + u32::try_from(n).unwrap_or(0),
            }],
            ..ChannelFacts::empty(id, Mode::Live)
        })
    };
    (0..CHANNELS).map(channel).collect()
}

/// Rules as merchants write them; most hold for few payments.
fn rules() -> Option<Compiled> {
    let rule = |n: usize| {
        let act = match n % 3 {
            0 => format!(r#""prefer": ["channel-{}"]"#, n % CHANNELS),
            1 => format!(r#""exclude": ["channel-{}"]"#, n % CHANNELS),
            _ => r#""attempts": 2"#.to_owned(),
        };
        format!(
            r#"{{ "name": "rule {n}", "when": "payment.amount > {} && payment.currency in ['EUR', 'USD'] && card.network != 'amex'", {act} }}"#,
            n * 1_000
        )
    };
    let all: Vec<String> = (0..RULES).map(rule).collect();
    Compiled::reread(&format!(r#"{{ "rules": [{}] }}"#, all.join(","))).ok()
}

fn memory_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok());
    pages.unwrap_or(0) * 4
}

fn each(name: &str, mut work: impl FnMut(u64)) {
    (0..1_000).for_each(&mut work);
    let started = Instant::now();
    (0..u64::from(TIMES)).for_each(work);
    let took = started.elapsed() / TIMES;
    println!("{name}: {}.{:03} µs", took.as_micros(), took.as_nanos() % 1_000);
}

fn main() {
    let (Some(channels), Some(rules), Some(merchant), Some(eur)) =
        (channels(), rules(), Name::parse("shop"), Asset::currency("EUR"))
    else {
        println!("nothing to measure");
        return;
    };
    let Some(amount) = Money::new(9_500, eur) else { return };
    let facts = RouteFacts {
        must_authenticate: false,
        merchant: &merchant,
        mode: Mode::Live,
        method: "card",
        amount: &amount,
        kind: Kind::Authorize,
        manual_capture: false,
        network: Some("visa"),
        issuer: Some("424242"),
        card: Some("fingerprint"),
        country: None,
        places: Places::default(),
        subjects: Subjects::default(),
    };
    let before = memory_kib();
    let mut learner = Learner::default();
    for n in 0..100_000_usize {
        let issuer = format!("{:06}", n % 50_000);
        let one = Segment {
            issuer: Some(&issuer),
            ..facts.segment()
        };
        if let Some(channel) = channels.get(n % CHANNELS) {
            learner.learn(&channel.id, &one, n % 7 != 0);
        }
    }
    println!(
        "{} learnt weights take {} KiB",
        learner.weights(),
        memory_kib() - before
    );
    let market = |seed: u64, rulings: Rulings, may_explore| Market {
        now_ms: 1_800_000_000_000,
        seed,
        rulings,
        state: &well,
        learner: &learner,
        margin_bps: 2_000,
        may_explore,
        attempts_max: 3,
    };
    each("plan of 20 channels", |seed| {
        std::hint::black_box(plan(&facts, &channels, market(seed, Rulings::default(), false)));
    });
    each("the same with draws", |seed| {
        std::hint::black_box(plan(&facts, &channels, market(seed, Rulings::default(), true)));
    });
    each("50 rules judged", |_| {
        std::hint::black_box(rules.judge(&facts));
    });
    each("rules and plan", |seed| {
        std::hint::black_box(plan(&facts, &channels, market(seed, rules.judge(&facts), false)));
    });
}
