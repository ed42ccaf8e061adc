//! The judgement: every ceiling against every kind of claim. Nothing that an adapter says raises the ceiling.

use super::*;
use crate::certainty::Certainty;
use crate::money::Asset;

fn eur(minor: i128) -> Money {
    Money::new(minor, Asset::currency("EUR").unwrap()).unwrap()
}

fn accepted(minor: i128) -> Result<Outcome, Fault> {
    Ok(Outcome::Accepted {
        reference: "r".into(),
        authorized: eur(minor),
        captured: true,
        network_reference: None,
        authentication: None,
        memo: None,
    })
}

/// An operation of that kind about so many cents.
fn operation(kind: Kind, minor: i128) -> Operation {
    let target = Target {
        kind: Kind::Authorize,
        operation: OperationId(Uuid::nil()),
        keys: vec![],
        reference: None,
        parent_reference: None,
        amount: eur(minor),
        started_ms: 0,
        memo: None,
        sent: vec![],
        captured: None,
        captured_ms: None,
        disputed: vec![],
    };
    Operation {
        id: OperationId(Uuid::nil()),
        payment: PaymentId(Uuid::nil()),
        merchant: crate::ids::Name::parse("shop").unwrap(),
        mode: Mode::Test,
        channel: crate::ids::Name::parse("channel").unwrap(),
        adapter: String::new(),
        kind,
        attempt: AttemptId(Uuid::nil()),
        amount: eur(minor),
        input: Input::Status(target),
        context: Context {
            operation: OperationId(Uuid::nil()),
            keys: vec![],
            now_ms: 0,
            entropy: [0; 32],
            settings: String::new(),
            secrets: vec![],
            card_number: String::new(),
            card_code: None,
            notify_url: String::new(),
            return_url: String::new(),
        },
        started_ms: 0,
        progress: Progress::Open,
        checks: 0,
        is_restored: false,
    }
}

fn asked_for(minor: i128) -> Operation {
    operation(Kind::Authorize, minor)
}

fn declined() -> Result<Outcome, Fault> {
    Ok(Outcome::Declined(Decline {
        retry: Retry::OtherChannel,
        reason: "do-not-honor".into(),
        provider_code: "05".into(),
        network_code: None,
        advice: None,
        message: String::new(),
        wait_ms: None,
        blocks_card: false,
    }))
}

fn faulty(kind: FaultKind) -> Result<Outcome, Fault> {
    Err(Fault {
        kind,
        text: String::new(),
    })
}

/// The verdict in one word.
fn word(ceiling: Certainty, claim: Result<Outcome, Fault>) -> &'static str {
    match judge(&asked_for(100), (ceiling, true), claim) {
        Verdict::Proven(_) => "proven",
        Verdict::NoEffect(_) => "no effect",
        Verdict::Unknown(..) => "unknown",
    }
}

#[test]
fn no_claim_raises_the_ceiling() {
    use Certainty::{Clear, NotSent, Refused, TurnedDown, Unknown};
    let ceilings = [NotSent, Refused, TurnedDown, Clear, Unknown];
    let row = |claim: Result<Outcome, Fault>| ceilings.map(|ceiling| word(ceiling, claim.clone()));
    assert_eq!(
        row(accepted(100)),
        ["proven", "no effect", "proven", "proven", "unknown"]
    );
    // A decline after a timeout stays unknown: no other channel may be tried. One with 403 is a decline: nothing was moved
    // either way, and the channel is well.
    assert_eq!(row(declined()), ["proven", "proven", "proven", "proven", "unknown"]);
    assert_eq!(
        row(Ok(Outcome::NotFound)),
        ["proven", "no effect", "proven", "unknown", "unknown"]
    );
    let doubt = Ok(Outcome::Unknown("?".to_owned().into()));
    assert_eq!(row(doubt), ["no effect", "no effect", "unknown", "unknown", "unknown"]);
    assert_eq!(
        row(faulty(FaultKind::Trap)),
        ["no effect", "no effect", "unknown", "unknown", "unknown"]
    );
    assert_eq!(
        row(faulty(FaultKind::Invalid)),
        ["no effect", "no effect", "no effect", "unknown", "unknown"]
    );
}

#[test]
fn a_claim_for_more_or_without_a_reply_is_a_fault() {
    let kind = |heard, claim| match judge(&asked_for(100), (Certainty::NotSent, heard), claim) {
        Verdict::NoEffect(fault) => Some(fault.kind),
        Verdict::Proven(_) | Verdict::Unknown(..) => None,
    };
    assert_eq!(kind(true, accepted(101)), Some(FaultKind::ClaimsMore));
    assert_eq!(kind(false, accepted(100)), Some(FaultKind::ClaimsUnheard));
    assert_eq!(word(Certainty::Clear, accepted(101)), "unknown");
}

#[test]
fn what_cannot_be_this_operations_is_a_contradiction() {
    let done = |minor| Outcome::Done {
        reference: "r".into(),
        amount: eur(minor),
        memo: None,
    };
    let standing = |authorized: Money| {
        Outcome::Standing(Standing {
            reference: "r".into(),
            state: State::Authorized,
            authorized: Some(authorized),
            captured: None,
            refunded: None,
            received: None,
            declined: None,
            disputes: vec![],
            watch_ms: None,
            sweep_ms: None,
            authentication: None,
        })
    };
    let sent = |fee: Money| Outcome::Sent {
        reference: "r".into(),
        is_final: true,
        check_after_ms: 0,
        iso_status: None,
        fee: Some(fee),
        memo: None,
        may_replace: false,
    };
    let of = |code: &str| Money::new(5, Asset::currency(code).unwrap()).unwrap();
    let token = Money::new(5, Asset::token("USDC:eip155:1", 6).unwrap()).unwrap();
    for (kind, outcome, is_contradicted) in [
        (Kind::Refund, done(100), false),
        (Kind::Refund, done(0), true),
        (Kind::Capture, done(0), true),
        (Kind::Cancel, done(0), false),
        (Kind::Capture, done(101), true),
        (Kind::Authorize, standing(eur(100)), false),
        (Kind::Authorize, standing(eur(101)), true),
        (Kind::Authorize, standing(of("USD")), true),
        (Kind::Pay, sent(of("USD")), false),
        (Kind::Pay, sent(token), true),
    ] {
        let found = operation(kind, 100).contradiction(&outcome);
        assert_eq!(found.is_some(), is_contradicted, "{kind:?} {outcome:?}: {found:?}");
    }
}
