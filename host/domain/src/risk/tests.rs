//! What limits count and what they do not, and what follows.

use super::*;
use uuid::Uuid;

const HOUR: u64 = 3_600_000;
const NOW: u64 = 100 * HOUR;

fn used(n: u128, hours_ago: u64, minor: i128) -> Use {
    Use {
        payment: PaymentId(Uuid::from_u128(n)),
        at_ms: NOW - hours_ago * HOUR,
        minor,
        asset: "EUR".into(),
        card: format!("card {}", n % 3),
        country: "DE".into(),
        is_over: false,
    }
}

fn limit(most: Most, then: Effect) -> Limit {
    Limit {
        per: Per::Payer,
        most,
        within_ms: 24 * HOUR,
        then,
    }
}

fn seen(most: Most, others: &[Use]) -> Option<i128> {
    limit(most, Effect::Refuse).measure(&used(0, 0, 500), others).0
}

#[test]
fn payments_cards_countries_and_totals_are_counted_within_the_time() {
    let others = [used(1, 1, 100), used(2, 23, 100), used(3, 24, 100), used(4, 50, 100)];
    assert_eq!(seen(Most::Payments(9), &others), Some(3));
    // Cards 0 (its own), 1 and 2.
    assert_eq!(seen(Most::Cards(9), &others), Some(3));
    assert_eq!(seen(Most::Countries(9), &others), Some(1));
    let total = || Most::Total(vec![("EUR".into(), 1_000)]);
    assert_eq!(seen(total(), &others), Some(700));
    // What failed counts as a payment and no more as money.
    let failed = [Use {
        is_over: true,
        ..used(1, 1, 100)
    }];
    assert_eq!(
        (seen(total(), &failed), seen(Most::Payments(9), &failed)),
        (Some(500), Some(2))
    );
    // Other currencies have their own total, or none.
    let dollars = [Use {
        asset: "USD".into(),
        ..used(1, 1, 100)
    }];
    assert_eq!(seen(total(), &dollars), Some(500));
    assert_eq!(seen(Most::Total(vec![("USD".into(), 1)]), &others), None);
    // The payment itself, confirmed once more, is no second one; what nobody said is no country.
    let itself = [used(0, 1, 100)];
    assert_eq!(seen(Most::Payments(9), &itself), Some(1));
    let elsewhere = |country: &str| Use {
        country: country.into(),
        ..used(1, 1, 1)
    };
    assert_eq!(
        seen(Most::Countries(9), &[elsewhere("FR"), elsewhere(""), elsewhere("FR")]),
        Some(2)
    );
}

#[test]
fn more_uses_than_are_looked_at_pass_every_limit() {
    let many: Vec<Use> = (1..=USES_MAX as u128).map(|n| used(n, 1, 1)).collect();
    let mut guard = guard(Effect::Refuse);
    guard.counted[0].limit.most = Most::Total(vec![("EUR".into(), 1_000_000)]);
    let passed = guard.check(&guard.counted[0], &many).unwrap_err();
    assert!(passed.flag.why.starts_with("more than 1000 payments"), "{passed}");
    assert_eq!(guard.check(&guard.counted[0], &many[1..]), Ok(()));
    // Sums do not overflow.
    let huge = [used(1, 1, i128::MAX), used(2, 1, i128::MAX)];
    assert_eq!(seen(Most::Total(vec![("EUR".into(), 5)]), &huge), Some(i128::MAX));
}

fn guard(then: Effect) -> LimitGuard {
    LimitGuard {
        this: used(0, 0, 500),
        can_authenticate: true,
        counted: vec![Counted {
            rule: "r".into(),
            limit: limit(Most::Payments(2), then),
            key: Some(UseKey("k".into())),
        }],
    }
}

#[test]
fn a_limit_refuses_from_the_first_one_that_is_too_many() {
    let one = guard(Effect::Refuse);
    let counted = &one.counted[0];
    assert_eq!(one.check(counted, &[used(1, 1, 1)]), Ok(()));
    let passed = one.check(counted, &[used(1, 1, 1), used(2, 2, 1)]).unwrap_err();
    assert_eq!(
        passed.to_string(),
        "the rule \"r\" refuses it: 3 payments for one payer in 24 hours with this payment, and 2 are allowed"
    );
    // What only warns does not stand in its way.
    let warns = guard(Effect::Warn);
    let both = [used(1, 1, 1), used(2, 2, 1)];
    assert_eq!(warns.check(&warns.counted[0], &both), Ok(()));
    assert!(
        warns
            .flag(&warns.counted[0], &warns.measure(&warns.counted[0], &both))
            .is_some()
    );
    // Nobody is authenticated who cannot be.
    let mut wallet = guard(Effect::Authenticate);
    wallet.can_authenticate = false;
    let measured = wallet.measure(&wallet.counted[0], &both);
    assert_eq!(wallet.flag(&wallet.counted[0], &measured).unwrap().effect, Effect::Warn);
    // Nothing is counted for nobody.
    let mut nobody = guard(Effect::Refuse);
    nobody.counted[0].key = None;
    assert_eq!(nobody.check(&nobody.counted[0], &both), Ok(()));
    assert!(!nobody.counts_anything());
}

#[test]
fn flags_stand_in_the_order_of_the_rules() {
    let guard = guard(Effect::Authenticate);
    let applied = |rule: &str, act: Act| Applied { rule: rule.into(), act };
    let rulings = Rulings {
        applied: vec![
            applied("w", Act::Warn),
            applied("r", Act::Limit(guard.counted[0].limit.clone())),
            applied("x", Act::Sticky),
            applied("no", Act::Refuse),
        ],
        ..Rulings::default()
    };
    let measured = guard.measure(&guard.counted[0], &[used(1, 1, 1), used(2, 1, 1)]);
    let rulings = assess(rulings, &guard, vec![measured]);
    let flags: Vec<(&str, Effect)> = rulings.flags.iter().map(|it| (it.rule.as_str(), it.effect)).collect();
    let expected = [("w", Effect::Warn), ("r", Effect::Authenticate), ("no", Effect::Refuse)];
    assert_eq!(flags, expected);
}

#[test]
fn times_are_said_as_people_say_them() {
    for (ms, words) in [
        (90_000, "90 seconds"),
        (600_000, "10 minutes"),
        (HOUR, "60 minutes"),
        (24 * HOUR, "24 hours"),
        (30 * 24 * HOUR, "30 days"),
    ] {
        assert_eq!(in_words(ms), words);
    }
}
