//! The judgement: every ceiling against every kind of claim. Nothing that an adapter says raises the ceiling.

use super::*;
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
        memo: None,
    })
}

fn declined() -> Result<Outcome, Fault> {
    Ok(Outcome::Declined(Decline {
        retry: Retry::OtherChannel,
        reason: "do-not-honor".into(),
        provider_code: "05".into(),
        network_code: None,
        advice: None,
        message: String::new(),
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
    match judge(ceiling, true, &eur(100), claim) {
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
    // A decline after a timeout stays unknown: no other channel may be tried.
    assert_eq!(row(declined()), ["proven", "no effect", "proven", "proven", "unknown"]);
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
    let kind = |heard, claim| match judge(Certainty::NotSent, heard, &eur(100), claim) {
        Verdict::NoEffect(fault) => Some(fault.kind),
        Verdict::Proven(_) | Verdict::Unknown(..) => None,
    };
    assert_eq!(kind(true, accepted(101)), Some(FaultKind::ClaimsMore));
    assert_eq!(kind(false, accepted(100)), Some(FaultKind::ClaimsUnheard));
    assert_eq!(word(Certainty::Clear, accepted(101)), "unknown");
}
