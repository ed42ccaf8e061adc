//! Disputes: a payer's bank takes money back, and the merchant may answer. It owns the dispute, its states and what each means
//! for the money; what the provider says comes in as [`DisputeNews`], from a status query or a report's line.

use super::Payment;
use super::fact::Fact;
use super::status::{AttemptStatus, IllegalEvent};
use crate::commit::Change;
use crate::ids::{AttemptId, ChannelId, DisputeId};
use crate::money::Money;
use serde::{Deserialize, Serialize};

/// Where a dispute stands, as schemes and providers name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
pub enum DisputeState {
    /// The payer's bank asks; no money moved.
    Inquiry,
    /// The money is taken; the merchant may answer until the due date.
    NeedsResponse,
    /// The merchant has answered, or the next round is on.
    UnderReview,
    /// The money is back.
    Won,
    /// The money is gone.
    Lost,
}

impl DisputeState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Inquiry,
        Self::NeedsResponse,
        Self::UnderReview,
        Self::Won,
        Self::Lost,
    ];

    /// The word in API, events and contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inquiry => "inquiry",
            Self::NeedsResponse => "needs_response",
            Self::UnderReview => "under_review",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether the channel keeps the money meanwhile.
    pub fn keeps_money(self) -> bool {
        match self {
            Self::NeedsResponse | Self::UnderReview | Self::Lost => true,
            Self::Inquiry | Self::Won => false,
        }
    }
}

/// Where the disputed money is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Funds {
    /// With the merchant: nothing was taken.
    Untouched,
    /// The channel has it.
    Taken {
        /// Whether it came out of what the merchant may have paid out.
        from_available: bool,
        /// What the merchant gave up for it in another asset, where the payment was exchanged.
        share: Option<Money>,
    },
    /// With the merchant again.
    Back {
        /// Whether it went to what the merchant may have paid out.
        to_available: bool,
        /// Whether it had been taken out of what was not settled, with no report's line about it yet.
        was_pending: bool,
    },
}

/// A dispute of a payment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dispute {
    /// Its id.
    pub id: DisputeId,
    /// The attempt whose money it is about.
    pub attempt: AttemptId,
    /// The channel that told of it.
    pub channel: ChannelId,
    /// The provider's reference.
    pub reference: String,
    /// How much is disputed.
    pub amount: Money,
    /// Why, as a code of the provider's.
    pub reason: String,
    /// The card network's reason code.
    pub network_code: Option<String>,
    /// Where it stands.
    pub state: DisputeState,
    /// Until when the merchant may answer.
    pub due_ms: Option<u64>,
    /// When the router heard of it.
    pub opened_ms: u64,
    /// Where the money is.
    pub funds: Funds,
    /// Whether the channel's report has shown that it took it.
    pub settled_out: bool,
    /// Whether the channel's report has shown that it gave it back.
    pub settled_back: bool,
}

/// What a provider says of a dispute.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DisputeNews {
    /// The provider's reference.
    pub reference: String,
    /// Where it stands.
    pub state: DisputeState,
    /// How much is disputed.
    pub amount: Money,
    /// Why, as a code.
    pub reason: String,
    /// The card network's reason code.
    pub network_code: Option<String>,
    /// Until when the merchant may answer.
    pub due_ms: Option<u64>,
}

/// The most disputes of one payment: each is a round of its own at some providers.
pub const DISPUTES_MAX: usize = 16;

/// Books what a provider says of a dispute: opened, moved on, or known already.
pub fn hear(
    payment: &mut Payment,
    change: &mut Change,
    (attempt, channel): (AttemptId, &ChannelId),
    news: &DisputeNews,
) -> Result<(), IllegalEvent> {
    // What a closed attempt brought late lies in suspense, and is nobody's to take: its task says what becomes of it.
    let has_money = payment.attempt(attempt).is_some_and(|attempt| {
        matches!(
            attempt.status,
            AttemptStatus::Captured | AttemptStatus::Authorized | AttemptStatus::Released
        )
    });
    if !has_money || payment.captured.is_zero() {
        return Ok(());
    }
    // A provider's dispute may be of more than was taken (another rate, its fees): no more than that is the merchant's loss.
    let amount = match news.amount.fits_in(&payment.captured) {
        true => news.amount.clone(),
        false => payment.captured.clone(),
    };
    let known = payment.disputes.iter().find(|it| it.is_of(channel, &news.reference));
    match known {
        Some(known) if known.state == news.state && (known.due_ms == news.due_ms || news.due_ms.is_none()) => Ok(()),
        Some(known) => {
            let fact = Fact::DisputeMoved {
                dispute: known.id,
                state: news.state,
                due_ms: news.due_ms.or(known.due_ms),
            };
            payment.record(change, fact)
        }
        None if payment.disputes.len() >= DISPUTES_MAX => Ok(()),
        None => {
            let id = DisputeId::of(payment.id, payment.disputes.len());
            payment.disputes.push(Dispute {
                id,
                attempt,
                channel: channel.clone(),
                reference: news.reference.clone(),
                amount: amount.clone(),
                reason: news.reason.clone(),
                network_code: news.network_code.clone(),
                state: news.state,
                due_ms: news.due_ms,
                opened_ms: change.now_ms,
                funds: Funds::Untouched,
                settled_out: false,
                settled_back: false,
            });
            let fact = Fact::DisputeOpened {
                dispute: id,
                channel: channel.clone(),
                amount,
                reason: news.reason.clone(),
                state: news.state,
                due_ms: news.due_ms,
            };
            payment.record(change, fact)
        }
    }
}

impl Dispute {
    /// Whether it is the channel's dispute of that reference.
    pub fn is_of(&self, channel: &ChannelId, reference: &str) -> bool {
        self.channel == *channel && self.reference == reference
    }

    /// Whether the channel has the money.
    pub fn is_taken(&self) -> bool {
        matches!(self.funds, Funds::Taken { .. })
    }

    /// Whether what it takes came out of what its channel has not settled, and no report has named it.
    pub(super) fn is_drawn_on_pending(&self) -> bool {
        let is_from_pending = matches!(
            self.funds,
            Funds::Taken {
                from_available: false,
                share: None
            }
        );
        is_from_pending && !self.settled_out
    }
}

impl Payment {
    /// The dispute of that id.
    pub fn dispute(&self, id: DisputeId) -> Option<&Dispute> {
        self.disputes.iter().find(|dispute| dispute.id == id)
    }

    pub(super) fn dispute_mut(&mut self, id: DisputeId) -> Option<&mut Dispute> {
        self.disputes.iter_mut().find(|dispute| dispute.id == id)
    }

    /// What of it channels keep for disputes.
    pub fn disputed(&self) -> Money {
        let zero = Money::zero(self.captured.asset().clone());
        let taken = self.disputes.iter().filter(|it| it.is_taken());
        taken.fold(zero, |sum, it| sum.plus(&it.amount).unwrap_or(sum))
    }
}
