//! The pipeline: each reason, the order of what decides, shares, worth, health.

use super::*;
use crate::channel::{AmountLimit, CostRule};
use crate::ids::Name;
use crate::money::Asset;
use decision::Stage;
use rule::Applied;

fn id(name: &str) -> ChannelId {
    Name::parse(name).unwrap()
}

fn eur(minor: i128) -> Money {
    Money::new(minor, Asset::currency("EUR").unwrap()).unwrap()
}

fn good(name: &str) -> ChannelFacts {
    ChannelFacts {
        id: id(name),
        mode: Mode::Test,
        methods: vec!["card".into()],
        adapter: "d".into(),
        kinds: vec![Kind::Authorize, Kind::Capture],
        ..ChannelFacts::empty(id(name), Mode::Test)
    }
}

fn well(_: &ChannelId) -> ChannelState {
    ChannelState {
        standing: Standing::Well,
        in_flight: 0,
    }
}

fn market<'a>(learner: &'a Learner, state: &'a dyn Fn(&ChannelId) -> ChannelState, acts: &[Act]) -> Market<'a> {
    let applied = acts.iter().map(|act| Applied {
        rule: "r".into(),
        act: act.clone(),
    });
    Market {
        now_ms: 1_000,
        seed: 7,
        rulings: Rulings {
            applied: applied.collect(),
            ..Rulings::default()
        },
        state,
        learner,
        margin_bps: 2_000,
        may_explore: false,
        attempts_max: 3,
    }
}

fn facts<'a>(merchant: &'a MerchantId, amount: &'a Money) -> RouteFacts<'a> {
    RouteFacts {
        must_authenticate: false,
        merchant,
        mode: Mode::Test,
        method: "card",
        amount,
        kind: Kind::Authorize,
        manual_capture: true,
        network: Some("visa"),
        issuer: Some("424242"),
        card: Some("fingerprint"),
        country: None,
        places: Places::default(),
        subjects: Subjects::default(),
    }
}

fn names(route: &Route) -> Vec<String> {
    route.channels.iter().map(|(id, _)| id.to_string()).collect()
}

#[test]
fn each_reason_is_named() {
    let (merchant, amount, learner) = (id("shop"), eur(1050), Learner::default());
    let facts = facts(&merchant, &amount);
    let reason = |change: fn(&mut ChannelFacts)| {
        let mut channel = good("good");
        change(&mut channel);
        let route = plan(&facts, &[channel], market(&learner, &well, &[]));
        route.decision.excluded.into_iter().map(|it| it.why).collect::<String>()
    };
    assert_eq!(reason(|_| ()), "");
    assert_eq!(reason(|c| c.disabled = true), "taken out by the operator");
    assert_eq!(reason(|c| c.methods = vec!["wallet".into()]), "does not take card");
    assert_eq!(reason(|c| c.currencies = vec!["USD".into()]), "does not take EUR");
    assert_eq!(
        reason(|c| c.steps = vec![("EUR".into(), 100)]),
        "takes EUR in steps of 100 minor units"
    );
    assert_eq!(reason(|c| c.kinds = vec![Kind::Authorize]), "cannot capture later");
    assert_eq!(
        reason(|c| c.maintenance = vec![(0, 61_000)]),
        "in maintenance for 1 more minutes"
    );
    assert_eq!(reason(|c| c.maintenance = vec![(0, 1_000), (2_000, 3_000)]), "");
    let small = |c: &mut ChannelFacts| c.limits = vec![AmountLimit::new("EUR", None, Some(1_049)).unwrap()];
    assert_eq!(reason(small), "takes at most 1049 minor units of EUR only");
    let other_mode = ChannelFacts {
        mode: Mode::Live,
        ..good("good")
    };
    let somebody_elses = ChannelFacts {
        merchant: Some(id("other")),
        ..good("secret")
    };
    let route = plan(&facts, &[other_mode, somebody_elses], market(&learner, &well, &[]));
    assert!(route.channels.is_empty() && route.decision.excluded.is_empty());
}

#[test]
fn rules_come_before_worth_and_health_before_both() {
    let (merchant, amount, learner) = (id("shop"), eur(1_000), Learner::default());
    let facts = facts(&merchant, &amount);
    let channels = [good("a"), good("b"), good("c")];
    let with = |acts: &[Act]| names(&plan(&facts, &channels, market(&learner, &well, acts)));
    assert_eq!(with(&[]), ["a", "b", "c"]);
    assert_eq!(with(&[Act::Prefer(vec![id("c"), id("b")])]), ["c", "b", "a"]);
    // The first rule about the order counts.
    let two = [Act::Prefer(vec![id("b")]), Act::Prefer(vec![id("c")])];
    assert_eq!(with(&two), ["b", "a", "c"]);
    assert_eq!(with(&[Act::Exclude(vec![id("a")]), Act::Exclude(vec![id("c")])]), ["b"]);
    assert_eq!(with(&[Act::Attempts(1)]), ["a"]);
    let b_is_sick = |channel: &ChannelId| ChannelState {
        standing: if channel.as_str() == "b" {
            Standing::Sick { until_ms: 3_500 }
        } else {
            Standing::Well
        },
        in_flight: 0,
    };
    let route = plan(
        &facts,
        &channels,
        market(&learner, &b_is_sick, &[Act::Prefer(vec![id("b")])]),
    );
    assert_eq!(names(&route), ["a", "c"]);
    let why = route.decision.excluded.first().unwrap();
    assert_eq!(
        (why.stage, why.why.as_str()),
        (Stage::Health, "failing; tried again in 3 s")
    );
}

#[test]
fn a_split_keeps_its_weights_and_a_card_keeps_its_channel() {
    let (merchant, amount, learner) = (id("shop"), eur(1_000), Learner::default());
    let channels = [good("a"), good("b"), good("c")];
    let split = [Act::Split(vec![(id("a"), 70), (id("b"), 30)])];
    // As the engine makes them: the random parts of ids, their lowest bits empty.
    let first = |facts: &RouteFacts<'_>, seed: u64, acts: &[Act]| {
        let market = Market {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xffff,
            ..market(&learner, &well, acts)
        };
        names(&plan(facts, &channels, market)).first().cloned().unwrap()
    };
    let facts = facts(&merchant, &amount);
    for (weights, share) in [([1, 1], 5_000), ([2, 2], 5_000), ([3, 1], 7_500), ([99, 1], 9_900)] {
        let split = [Act::Split(vec![(id("a"), weights[0]), (id("b"), weights[1])])];
        let to_a = (0..10_000).filter(|seed| first(&facts, *seed, &split) == "a").count();
        assert!(to_a.abs_diff(share) < 200, "{weights:?}: {to_a}");
    }
    let to_a = (0..10_000).filter(|seed| first(&facts, *seed, &split) == "a").count();
    assert!((6_800..7_200).contains(&to_a), "{to_a}");
    let kept: Vec<String> = (0..20).map(|seed| first(&facts, seed, &[Act::Sticky])).collect();
    assert!(kept.iter().all(|it| Some(it) == kept.first()));
    let cards: Vec<String> = (0..300).map(|n| format!("card-{n}")).collect();
    let of_cards = cards.iter().map(|card| {
        let facts = RouteFacts {
            must_authenticate: false,
            card: Some(card),
            ..facts.clone()
        };
        first(&facts, 1, &[Act::Sticky])
    });
    let mut by_channel = std::collections::BTreeMap::<String, usize>::new();
    of_cards.for_each(|channel| *by_channel.entry(channel).or_default() += 1);
    assert!(
        by_channel.len() == 3 && by_channel.values().all(|cards| (70..130).contains(cards)),
        "{by_channel:?}"
    );
}

#[test]
fn where_nothing_is_left_the_likelier_and_then_the_cheaper_comes_first() {
    let (merchant, amount) = (id("shop"), eur(100));
    let facts = facts(&merchant, &amount);
    let mut learner = Learner::default();
    for n in 0..200 {
        learner.learn(&id("a"), &facts.segment(), n % 10 == 0);
        learner.learn(&id("b"), &facts.segment(), n % 10 != 0);
    }
    let priced = |name: &str, fixed| ChannelFacts {
        costs: vec![CostRule {
            fixed,
            ..CostRule::default()
        }],
        ..good(name)
    };
    let channels = [priced("a", 26), priced("b", 26)];
    assert_eq!(
        names(&plan(&facts, &channels, market(&learner, &well, &[]))),
        ["b", "a"]
    );
    let unknown = [priced("x", 27), priced("y", 26)];
    assert_eq!(names(&plan(&facts, &unknown, market(&learner, &well, &[]))), ["y", "x"]);
}

#[test]
fn the_likelier_and_the_cheaper_come_first() {
    let (merchant, amount) = (id("shop"), eur(10_000));
    let facts = facts(&merchant, &amount);
    let mut learner = Learner::default();
    for n in 0..200 {
        learner.learn(&id("a"), &facts.segment(), n % 10 != 0);
        learner.learn(&id("b"), &facts.segment(), n % 20 != 0);
    }
    let cost = |fixed, bps| {
        vec![CostRule {
            currency: None,
            network: None,
            fixed,
            bps,
        }]
    };
    // Of 100.00 a fifth is the seller's: five points of approval are worth 1.00.
    let priced = |a, b| {
        let channels = [
            ChannelFacts { costs: a, ..good("a") },
            ChannelFacts { costs: b, ..good("b") },
        ];
        plan(&facts, &channels, market(&learner, &well, &[]))
    };
    assert_eq!(names(&priced(vec![], vec![])), ["b", "a"]);
    assert_eq!(names(&priced(cost(25, 100), cost(25, 150))), ["b", "a"]);
    assert_eq!(names(&priced(cost(25, 100), cost(25, 300))), ["a", "b"]);
    // What is not priced counts as the dearest that is.
    assert_eq!(names(&priced(vec![], cost(25, 300))), ["b", "a"]);
    let route = priced(cost(25, 100), cost(25, 150));
    let why = &route.decision.plan.first().unwrap().why;
    assert!(
        why.starts_with("approves 9") && why.ends_with("takes 1.75 EUR"),
        "{why}"
    );
}

#[test]
fn a_sick_channel_is_probed_and_the_last_one_is_tried() {
    let (merchant, amount, learner) = (id("shop"), eur(1_000), Learner::default());
    let facts = facts(&merchant, &amount);
    let channels = [good("a"), good("b")];
    let b_is = |standing| {
        move |channel: &ChannelId| ChannelState {
            standing: if channel.as_str() == "b" {
                standing
            } else {
                Standing::Well
            },
            in_flight: 0,
        }
    };
    let probe = plan(&facts, &channels, market(&learner, &b_is(Standing::Probe), &[]));
    assert_eq!(names(&probe), ["b", "a"]);
    let waits = plan(&facts, &channels, market(&learner, &b_is(Standing::BeingProbed), &[]));
    assert_eq!(names(&waits), ["a"]);
    let all = |_: &ChannelId| ChannelState {
        standing: Standing::Sick { until_ms: 9_000 },
        in_flight: 0,
    };
    let route = plan(&facts, &channels, market(&learner, &all, &[]));
    assert_eq!(names(&route), ["a", "b"]);
    assert!(route.decision.excluded.is_empty());
    let full = |_: &ChannelId| ChannelState {
        standing: Standing::Well,
        in_flight: 8,
    };
    let bounded = [ChannelFacts {
        in_flight_max: Some(8),
        ..good("a")
    }];
    let route = plan(&facts, &bounded, market(&learner, &full, &[]));
    assert_eq!(route.decision.excluded.first().unwrap().stage, Stage::Capacity);
}

#[test]
fn a_payer_who_must_be_authenticated_goes_where_that_can_be_asked_for() {
    let (merchant, amount, learner) = (id("shop"), eur(1_000), Learner::default());
    let plain = facts(&merchant, &amount);
    let able = |name: &str| ChannelFacts {
        authenticates: true,
        methods: vec!["card".into(), "wallet:w".into()],
        ..good(name)
    };
    let channels = [good("a"), able("b")];
    let route = |facts: &RouteFacts<'_>, acts: &[Act]| plan(facts, &channels, market(&learner, &well, acts));
    let free = route(&plain, &[]);
    assert_eq!(
        (names(&free), free.decision.authenticate),
        (vec!["a".into(), "b".into()], None)
    );
    let by_rule = route(&plain, &[Act::Sticky, Act::Authenticate]);
    assert_eq!(names(&by_rule), ["b"]);
    assert_eq!(by_rule.decision.authenticate, Some(AskedBy::Rule("r".into())));
    let why = by_rule.decision.excluded.iter().map(|it| (it.stage, it.why.as_str()));
    let expected = (Stage::Eligibility, "cannot be told to authenticate the payer");
    assert_eq!(why.collect::<Vec<_>>(), [expected]);
    let by_merchant = RouteFacts {
        must_authenticate: true,
        ..plain.clone()
    };
    let route_of_merchant = route(&by_merchant, &[Act::Authenticate]);
    assert_eq!(route_of_merchant.decision.authenticate, Some(AskedBy::Merchant));
    // Who pays by wallet is known to it.
    let wallet = RouteFacts {
        method: "wallet:w",
        ..plain
    };
    let route_of_wallet = route(&wallet, &[Act::Authenticate]);
    assert_eq!(
        (names(&route_of_wallet), route_of_wallet.decision.authenticate),
        (vec!["b".into()], None)
    );
}
