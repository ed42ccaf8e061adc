//! What is read, what is refused and where, what is never claimed.

use super::*;
use portolan_domain::ids::Name;

fn problems(source: &str) -> Vec<(String, &'static str)> {
    let known = [Name::parse("a").unwrap(), Name::parse("b").unwrap()];
    match Compiled::read(source, Some(&known)) {
        Ok(_) => vec![],
        Err(problems) => problems.into_iter().map(|it| (it.pointer, it.code)).collect(),
    }
}

const GOOD: &str = r#"{ "rules": [
    { "name": "large", "when": "payment.amount >= 100000", "prefer": ["a", "b"] },
    { "name": "visa", "when": "card.network == 'visa'", "split": { "a": 70, "b": 30 } },
    { "name": "no b in USD", "when": "payment.currency == 'USD'", "exclude": ["b"] },
    { "name": "rest", "sticky": true },
    { "name": "two", "when": "payment.amount < 500", "attempts": 1 } ],
  "tests": [
    { "name": "large goes to a", "payment": { "amount": 100000, "currency": "EUR" }, "applies": ["large", "rest"] },
    { "name": "small", "payment": { "amount": 499, "currency": "USD" }, "card": { "network": "visa" },
      "applies": ["visa", "no b in USD", "rest", "two"] } ] }"#;

#[test]
fn a_good_set_is_read_and_judged() {
    assert_eq!(problems(GOOD), []);
    assert_eq!(Compiled::read(GOOD, None).ok().map(|it| it.tests), Some(2));
}

#[test]
fn everything_wrong_is_named_with_its_place() {
    let set = r#"{ "rules": [
        { "name": "x", "when": "payment.amout > 1", "prefer": ["c"] },
        { "name": "x", "prefer": ["a"], "exclude": ["b"] },
        { "name": "y" },
        { "name": "z", "split": { "a": 0 } } ] }"#;
    let found = problems(set);
    let expected = [
        ("/rules/0/when", "invalid_condition"),
        ("/rules/0/prefer", "unknown_channel"),
        ("/rules/1", "one_act"),
        ("/rules/2", "one_act"),
        ("/rules/3/split", "invalid_value"),
    ];
    assert_eq!(found, expected.map(|(at, code)| (at.to_owned(), code)));
    assert_eq!(
        problems(r#"{ "rules": [ { "name": "x", "prefre": ["a"] } ] }"#),
        [("/rules/0/prefre".to_owned(), "malformed")]
    );
}

#[test]
fn rules_that_never_decide_are_refused() {
    let never = r#"{ "rules": [
        { "name": "n", "when": "payment.amount > 500 && payment.amount < 400", "prefer": ["a"] } ] }"#;
    assert_eq!(problems(never), [("/rules/0/when".to_owned(), "never_true")]);
    let behind = r#"{ "rules": [
        { "name": "wide", "when": "payment.amount > 100", "prefer": ["a"] },
        { "name": "narrow", "when": "payment.amount > 500 && payment.currency == 'EUR'", "prefer": ["b"] },
        { "name": "other", "when": "payment.amount > 500", "exclude": ["b"] } ] }"#;
    assert_eq!(problems(behind), [("/rules/1".to_owned(), "unreachable")]);
    let beside = behind.replace("payment.amount > 100\"", "payment.amount > 600\"");
    assert_eq!(problems(&beside), []);
}

/// Facts that no condition looks at do not make so many payments that nothing can be said any more; the example is no exception.
#[test]
fn dead_rules_are_found_beside_limits_and_places() {
    let example = include_str!("../../../../examples/routes.toml");
    let mut set: serde_json::Value = toml::from_str(example).unwrap();
    let known = [Name::parse("acquirer-a").unwrap()];
    assert!(Compiled::read(&set.to_string(), Some(&known)).is_ok());
    let dead = serde_json::json!({ "name": "dead", "warn": true,
        "when": "payer.ip_country == 'DE' && payer.ip_country == 'BR' && shipping.country != payer.country" });
    set["rules"].as_array_mut().unwrap().push(dead);
    let found = Compiled::read(&set.to_string(), Some(&known)).err().unwrap();
    assert_eq!(
        (found[0].pointer.as_str(), found[0].code),
        ("/rules/4/when", "never_true")
    );
    let three = r#"{ "rules": [{ "name": "three places", "refuse": true,
        "when": "payer.country != '' && payer.ip_country != '' && shipping.country != '' && payer.country != payer.ip_country && shipping.country != payer.country && shipping.country != payer.ip_country" }] }"#;
    assert_eq!(problems(three), []);
}

/// What protects holds where its condition cannot be judged.
#[test]
fn a_refusal_that_cannot_be_judged_refuses() {
    let set = r#"{ "rules": [{ "name": "x", "when": "payment.amount * 9223372036854775807 > 5", "refuse": true },
        { "name": "y", "when": "payment.amount * 9223372036854775807 > 5", "attempts": 1 }] }"#;
    let compiled = Compiled::read(set, None).ok().unwrap();
    let (merchant, amount) = (
        Name::parse("shop").unwrap(),
        portolan_domain::money::Money::new(500, portolan_domain::money::Asset::currency("EUR").unwrap()).unwrap(),
    );
    let rulings = compiled.judge(&facts(&merchant, &amount));
    let applied: Vec<&str> = rulings.applied.iter().map(|it| it.rule.as_str()).collect();
    assert_eq!((applied, rulings.broken.len()), (vec!["x"], 2));
}

#[test]
fn nothing_is_claimed_of_what_is_reckoned() {
    for condition in [
        "payment.amount * 2 == 30",
        "payment.currency.startsWith('EU')",
        "payment.method.startsWith('wallet:') && payment.method.endsWith('pay')",
        "card.bin.startsWith('4') && card.bin.contains('77')",
        "size(payer.country) == 2",
    ] {
        let set = format!(r#"{{ "rules": [{{ "name": "x", "when": "{condition}", "prefer": ["a"] }}] }}"#);
        assert_eq!(problems(&set), [], "{condition}");
    }
    let long = format!("payment.amount > 1 {}", "&& payment.amount > 1".repeat(40));
    let rule = |n: usize| format!(r#"{{ "name": "{n}", "when": "{long}", "attempts": 1 }}"#);
    let rules: Vec<String> = (0..20).map(rule).collect();
    let set = format!(r#"{{ "rules": [{}] }}"#, rules.join(","));
    assert!(problems(&set).contains(&("/rules".to_owned(), "too_long")));
}

#[test]
fn a_test_that_fails_refuses_the_set() {
    let wrong = GOOD.replace(r#""applies": ["large", "rest"]"#, r#""applies": ["large"]"#);
    assert_eq!(problems(&wrong), [("/tests/0/applies".to_owned(), "test_failed")]);
}

#[test]
fn a_mistyped_word_is_refused_when_it_is_written_and_kept_where_it_was_in_force() {
    let set = r#"{ "rules": [ { "name": "x", "when": "card.network != 'vsa'", "prefer": ["a"] } ] }"#;
    assert_eq!(problems(set), [("/rules/0/when".to_owned(), "impossible_value")]);
    assert!(Compiled::reread(set).is_ok());
}

fn facts<'a>(
    merchant: &'a portolan_domain::ids::MerchantId,
    amount: &'a portolan_domain::money::Money,
) -> RouteFacts<'a> {
    RouteFacts {
        merchant,
        mode: portolan_domain::ids::Mode::Test,
        method: "card",
        amount,
        kind: portolan_domain::operation::Kind::Authorize,
        manual_capture: false,
        network: None,
        issuer: None,
        card: None,
        country: None,
        places: portolan_domain::routing::Places::default(),
        subjects: portolan_domain::routing::Subjects::default(),
        must_authenticate: false,
    }
}
