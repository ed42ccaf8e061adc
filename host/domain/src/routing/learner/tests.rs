//! What is learnt: of nothing, of thin groups, of sudden changes, within bounds.

use super::*;
use crate::ids::Name;

fn channel(name: &str) -> ChannelId {
    Name::parse(name).unwrap()
}

fn segment(currency: &str) -> Segment<'_> {
    Segment {
        mode: Mode::Test,
        method: "card",
        network: Some("visa"),
        issuer: Some("424242"),
        country: Some("DE"),
        currency,
        band: band(1_000),
    }
}

#[test]
fn nothing_known_is_the_same_for_all_and_thin_groups_follow_wide_ones() {
    let mut learner = Learner::default();
    let (a, b) = (channel("a"), channel("b"));
    let expected = learner.estimate(&a, &segment("EUR"));
    assert_eq!(expected, learner.estimate(&b, &segment("EUR")));
    assert!(!expected.is_known());
    for n in 0..300 {
        learner.learn(&a, &segment("EUR"), n % 2 == 0);
    }
    let known = learner.estimate(&a, &segment("EUR"));
    assert!(known.is_known() && (450_000..560_000).contains(&known.ppm), "{known:?}");
    // A currency that was never seen is expected to do nearly as the channel does.
    let other = learner.estimate(&a, &segment("USD"));
    assert!((450_000..750_000).contains(&other.ppm), "{other:?}");
    assert!(other.spread_micro > known.spread_micro);
    assert!(!learner.estimate(&b, &segment("EUR")).is_known());
}

#[test]
fn a_sudden_drop_is_seen_within_some_attempts_and_looked_after() {
    let mut learner = Learner::default();
    let a = channel("a");
    for n in 0..1_000 {
        learner.learn(&a, &segment("EUR"), n % 10 != 0);
    }
    assert!(learner.estimate(&a, &segment("EUR")).ppm > 850_000);
    assert!((0..100).all(|seed| !learner.is_to_be_probed(&a, seed)));
    for _ in 0..20 {
        learner.learn(&a, &segment("EUR"), false);
    }
    assert!(learner.estimate(&a, &segment("EUR")).ppm < 450_000);
    let probed = (0..1_000).filter(|seed| learner.is_to_be_probed(&a, *seed)).count();
    assert!((20..80).contains(&probed), "{probed}");
    for _ in 0..40 {
        learner.learn(&a, &segment("EUR"), true);
    }
    assert!(learner.estimate(&a, &segment("EUR")).ppm > 800_000);
    assert!((0..100).all(|seed| !learner.is_to_be_probed(&a, seed)));
}

#[test]
fn a_draw_repeats_and_is_narrow_where_much_is_known() {
    let thin = Estimate {
        ppm: 850_000,
        mean_micro: 1_036_000,
        spread_micro: 500_000,
        attempts: 0,
    };
    let rich = Estimate {
        spread_micro: 50_000,
        ..thin
    };
    let spread = |estimate: Estimate| {
        let drawn: Vec<u32> = (0..200).map(|seed| estimate.draw_ppm(seed)).collect();
        drawn.iter().max().unwrap() - drawn.iter().min().unwrap()
    };
    assert_eq!(thin.draw_ppm(7), thin.draw_ppm(7));
    assert!(spread(rich) < spread(thin) / 3, "{} {}", spread(rich), spread(thin));
}

#[test]
fn memory_is_bounded() {
    let mut learner = Learner::default();
    let a = channel("a");
    for n in 0..150_000_u32 {
        let issuer = format!("{n:06}");
        let one = Segment {
            issuer: Some(&issuer),
            ..segment("EUR")
        };
        learner.learn(&a, &one, true);
    }
    assert!(learner.weights() <= WEIGHTS_MAX);
    // What every attempt teaches is never forgotten.
    assert!(learner.estimate(&a, &segment("EUR")).ppm > 950_000);
}
