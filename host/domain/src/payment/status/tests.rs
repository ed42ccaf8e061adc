//! Every pair of status and fact, for all three machines: what is allowed stands in `table.txt`, everything else is
//! refused. A new status or fact changes that file, and somebody looks at it.

use super::{AttemptStatus, FollowUpStatus, PaymentStatus};
use crate::ids::{AttemptId, DisputeId, Name, OperationId};
use crate::money::{Asset, Money};
use crate::operation::Kind;
use crate::payment::conversion::LegState;
use crate::payment::dispute::DisputeState;
use crate::payment::fact::Fact;
use crate::risk::{Effect, Flag};
use std::fmt::Write;
use uuid::Uuid;

/// Every fact, once per case that the tables tell apart.
fn facts() -> Vec<(&'static str, Fact)> {
    let amount = Money::new(1, Asset::currency("EUR").unwrap()).unwrap();
    let (attempt, operation) = (AttemptId(Uuid::nil()), OperationId(Uuid::nil()));
    let channel = Name::parse("channel").unwrap();
    let captured = |is_final| Fact::Captured {
        attempt,
        operation: None,
        amount: amount.clone(),
        is_final,
    };
    let started = |kind| Fact::FollowUpStarted {
        attempt,
        operation,
        kind,
        amount: amount.clone(),
        is_final: true,
    };
    vec![
        (
            "created",
            Fact::Created {
                amount: amount.clone(),
                manual_capture: false,
            },
        ),
        (
            "rate locked",
            Fact::RateLocked {
                quote: crate::ids::QuoteId(Uuid::nil()),
                channel: channel.clone(),
                owed: amount.clone(),
            },
        ),
        (
            "requoted",
            Fact::Requoted {
                channel: channel.clone(),
                owed: amount.clone(),
            },
        ),
        (
            "converted",
            Fact::Converted {
                operation,
                channel: channel.clone(),
                sold: amount.clone(),
                bought: amount.clone(),
                owed: amount.clone(),
            },
        ),
        ("conversion held", Fact::ConversionHeld { why: String::new() }),
        (
            "settled",
            Fact::Settled {
                operation,
                channel: channel.clone(),
                gross: amount.clone(),
                fee: amount.clone(),
                is_refund: false,
                batch: String::new(),
            },
        ),
        (
            "delivery moved",
            Fact::DeliveryMoved {
                payout: None,
                amount: amount.clone(),
                state: LegState::Submitted,
                why: None,
            },
        ),
        (
            "dispute opened",
            Fact::DisputeOpened {
                dispute: DisputeId(Uuid::nil()),
                channel: channel.clone(),
                amount: amount.clone(),
                reason: String::new(),
                state: DisputeState::NeedsResponse,
                due_ms: None,
            },
        ),
        (
            "dispute moved",
            Fact::DisputeMoved {
                dispute: DisputeId(Uuid::nil()),
                state: DisputeState::Won,
                due_ms: None,
            },
        ),
        (
            "dispute settled",
            Fact::DisputeSettled {
                dispute: DisputeId(Uuid::nil()),
                channel: channel.clone(),
                gross: amount.clone(),
                fee: amount.clone(),
                is_return: false,
                batch: String::new(),
            },
        ),
        (
            "banked",
            Fact::Banked {
                operation,
                channel: channel.clone(),
                bank: channel.clone(),
                net: amount.clone(),
                is_credit: true,
                batch: String::new(),
            },
        ),
        (
            "booked",
            Fact::Booked {
                operation,
                bank: channel.clone(),
                amount: amount.clone(),
                fee: amount.clone(),
                is_return: false,
            },
        ),
        (
            "returned",
            Fact::Returned {
                attempt,
                amount: amount.clone(),
                reason: String::new(),
            },
        ),
        (
            "flagged",
            Fact::Flagged {
                flag: Flag {
                    rule: String::new(),
                    effect: Effect::Warn,
                    why: String::new(),
                },
            },
        ),
        ("method set", Fact::MethodSet),
        (
            "attempt started",
            Fact::AttemptStarted {
                authenticate: None,
                attempt,
                channel,
                adapter: String::new(),
                operation,
            },
        ),
        ("action required", Fact::ActionRequired { attempt }),
        ("resumed", Fact::Resumed { attempt, operation }),
        ("attempt pending", Fact::AttemptPending { attempt }),
        ("outcome unknown", Fact::OutcomeUnknown { attempt, operation }),
        (
            "attempt declined",
            Fact::AttemptDeclined {
                attempt,
                reason: String::new(),
                provider_code: String::new(),
                network_code: None,
                retry: None,
                blocks_card: false,
            },
        ),
        (
            "attempt no effect",
            Fact::AttemptNoEffect {
                attempt,
                why: String::new(),
            },
        ),
        (
            "attempt released",
            Fact::AttemptReleased {
                attempt,
                by: String::new(),
                operation: None,
            },
        ),
        (
            "authorized",
            Fact::Authorized {
                attempt,
                amount: amount.clone(),
            },
        ),
        ("captured in part", captured(false)),
        ("captured finally", captured(true)),
        ("code required", Fact::CodeRequired),
        ("failed", Fact::Failed { code: String::new() }),
        ("canceled", Fact::Canceled { reason: String::new() }),
        ("rest released", Fact::RestReleased),
        ("capture started", started(Kind::Capture)),
        ("refund started", started(Kind::Refund)),
        ("sweep started", started(Kind::Sweep)),
        ("follow-up unknown", Fact::FollowUpUnknown { operation, kind: None }),
        (
            "follow-up pending",
            Fact::FollowUpPending {
                operation,
                kind: Kind::Refund,
            },
        ),
        (
            "follow-up failed",
            Fact::FollowUpFailed {
                operation,
                kind: Some(Kind::Refund),
                reason: String::new(),
            },
        ),
        (
            "refunded",
            Fact::Refunded {
                operation,
                amount: amount.clone(),
            },
        ),
        ("swept", Fact::Swept { operation }),
        (
            "late success",
            Fact::LateSuccess {
                attempt,
                amount: amount.clone(),
            },
        ),
        ("late settled", Fact::LateSettled { attempt, amount }),
    ]
}

#[test]
fn every_pair_of_status_and_fact() {
    let mut table = String::new();
    let mut row = |machine: &str, status: &str, name: &str, next: Option<&str>| {
        if let Some(next) = next {
            writeln!(table, "{machine:<10}{status:<26}{name:<20}{next}").unwrap();
        }
    };
    for (name, fact) in facts() {
        for status in PaymentStatus::ALL {
            row(
                "payment",
                status.as_str(),
                name,
                status.next(&fact).ok().map(PaymentStatus::as_str),
            );
        }
        for status in AttemptStatus::ALL {
            row(
                "attempt",
                status.as_str(),
                name,
                status.next(&fact).ok().map(AttemptStatus::as_str),
            );
        }
        for status in FollowUpStatus::ALL {
            row(
                "follow-up",
                status.as_str(),
                name,
                status.next(&fact).ok().map(FollowUpStatus::as_str),
            );
        }
    }
    expect_test::expect_file!["table.txt"].assert_eq(&table);
}

#[test]
fn what_is_final_stays_final() {
    for (name, fact) in facts() {
        for status in PaymentStatus::ALL.iter().filter(|status| status.is_final()) {
            if let Ok(next) = status.next(&fact) {
                assert_eq!(next, *status, "{name} moves a payment that is {}", status.as_str());
            }
        }
        for status in AttemptStatus::ALL.iter().filter(|status| status.is_closed()) {
            if let Ok(next) = status.next(&fact) {
                assert_eq!(next, *status, "{name} opens an attempt that is {}", status.as_str());
            }
        }
    }
}

#[test]
fn every_event_has_a_name_that_is_known() {
    use crate::payment::fact::{EVENT_FAMILIES, is_event_name};
    for (_, fact) in facts() {
        assert!(is_event_name(fact.name()), "{}", fact.name());
        let family = fact.name().split('.').next().unwrap();
        assert!(EVENT_FAMILIES.contains(&family), "{family}");
    }
    assert!(is_event_name("payout.paid") && is_event_name("payout.failed"));
    for name in ["payment.paid", "payment.", "payment", "payout.", "refund.*", ""] {
        assert!(!is_event_name(name), "{name}");
    }
}
