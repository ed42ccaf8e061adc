//! One trait per capability: what an adapter implements. Each method is a plain `async fn` over [`Ctx`]; the export
//! macro turns it into the contract's step function.

use crate::types::{Fault, Manifest, Money, Target};
use crate::{Ctx, captures, exchange, feeds, notifications, payments, payouts, sessions, settlements};

/// Who the adapter is and what it asks for.
pub trait Adapter {
    /// Read once, at admission.
    fn describe() -> Manifest;
}

/// Sessions with the provider.
pub trait Sessions {
    /// Opens the session `name`; says where in the last reply its token stands.
    async fn start(ctx: &Ctx, name: String) -> Result<sessions::Opened, Fault>;
}

/// Money in.
pub trait Payments {
    /// Authorizes, and captures where asked.
    async fn authorize(ctx: &Ctx, request: payments::Authorization) -> Result<payments::Outcome, Fault>;
    /// What became of an authorization.
    async fn status(ctx: &Ctx, of: Target) -> Result<payments::Finding, Fault>;
}

/// The payer is back from an action.
pub trait Actions {
    /// Goes on with what browser or wallet brought along.
    async fn resume(
        ctx: &Ctx,
        original: payments::Authorization,
        of: Target,
        returned: Vec<(String, String)>,
    ) -> Result<payments::Outcome, Fault>;
}

/// What can follow an authorization.
pub trait Captures {
    /// Captures `amount`; `is_final`: nothing more will be captured.
    async fn capture(ctx: &Ctx, of: Target, amount: Money, is_final: bool) -> Result<captures::Outcome, Fault>;
    /// Voids before anything is captured.
    async fn cancel(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault>;
    /// What became of that one capture or cancel.
    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault>;
}

/// Money back.
pub trait Refunds {
    /// Refunds `amount` of what was captured.
    async fn refund(ctx: &Ctx, of: Target, amount: Money, reason: Option<String>) -> Result<captures::Outcome, Fault>;
    /// What became of that one refund.
    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault>;
}

/// Undoing an authorization whose outcome nobody knows.
pub trait Reversals {
    /// Reverses the target; done means that it has no effect, now and later.
    async fn reverse(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault>;
    /// What became of that one reversal.
    async fn status(ctx: &Ctx, of: Target) -> Result<captures::Outcome, Fault>;
}

/// Money out.
pub trait Payouts {
    /// Pays a beneficiary.
    async fn pay(ctx: &Ctx, request: payouts::Payout) -> Result<payouts::Outcome, Fault>;
    /// What became of that one payout.
    async fn status(ctx: &Ctx, of: Target) -> Result<payouts::Outcome, Fault>;
}

/// Money changed.
pub trait Exchange {
    /// Prices a conversion.
    async fn quote(ctx: &Ctx, request: exchange::Inquiry) -> Result<exchange::QuoteOutcome, Fault>;
    /// Converts at a quotation.
    async fn convert(ctx: &Ctx, request: exchange::Conversion) -> Result<exchange::Outcome, Fault>;
    /// What became of that one conversion.
    async fn status(ctx: &Ctx, of: Target) -> Result<exchange::Outcome, Fault>;
}

/// What a provider tells of its own accord.
pub trait Notifications {
    /// Proves where it came from (through [`crate::keys`]) and says what it is about.
    async fn receive(
        ctx: &Ctx,
        notification: notifications::Notification,
    ) -> Result<notifications::Receipt, notifications::Rejection>;
}

/// What must be fetched because nobody pushes it.
pub trait Feeds {
    /// Reads on from `cursor`.
    async fn poll(ctx: &Ctx, cursor: Vec<u8>) -> Result<feeds::Page, Fault>;
}

/// A provider's settlement report.
pub trait Settlements {
    /// Parses one piece; `carry` is what the adapter keeps from piece to piece.
    fn parse(ctx: &Ctx, piece: Vec<u8>, carry: Vec<u8>, last: bool) -> Result<settlements::Parsed, Fault>;
}

impl payments::Outcome {
    /// Nobody knows, and no reply brought a reference.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(payments::Doubt {
            why: why.into(),
            reference: None,
            extra: vec![],
        })
    }
}
