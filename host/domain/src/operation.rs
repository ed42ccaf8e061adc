//! Operations: the unit that has an id, keys, a clock, an intent and an outcome. It owns their inputs and outcomes, and
//! what contradicts them; the judgement is in `verdict.rs`, the loop that runs them in the engine.

use crate::beneficiary::PayoutTerms;
use crate::ids::{AttemptId, ChannelId, MerchantId, MethodId, Mode, OperationId, PaymentId};
use crate::money::{Asset, Money};
use crate::payment::dispute::DisputeNews;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod authentication;
pub mod reason;
mod verdict;

pub use authentication::{AskedBy, Authentication, AuthenticationResult};
pub use verdict::{Fault, FaultKind, Verdict, judge};

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
pub enum Kind {
    /// Asks for money from a payer.
    Authorize,
    /// Goes on after the payer's action.
    Resume,
    /// Takes what was authorized.
    Capture,
    /// Voids what was authorized.
    Cancel,
    /// Gives back what was captured.
    Refund,
    /// Undoes an authorization of unknown outcome.
    Reverse,
    /// Prices an exchange of one asset for another.
    Quote,
    /// Exchanges at a quotation.
    Convert,
    /// Pays a beneficiary.
    Pay,
    /// Brings what came to an address of its own to where payouts are made from.
    Sweep,
    /// Reads on in a provider's feed.
    Poll,
}

impl Kind {
    /// The word for logs, metrics and the contract's `target.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Resume => "resume",
            Self::Capture => "capture",
            Self::Cancel => "cancel",
            Self::Refund => "refund",
            Self::Reverse => "reverse",
            Self::Quote => "quote",
            Self::Convert => "convert",
            Self::Pay => "pay",
            Self::Sweep => "sweep",
            Self::Poll => "poll",
        }
    }

    /// Whether its being done means that this much was taken or given back: for the others the amount says nothing.
    fn moves(self) -> bool {
        matches!(self, Self::Capture | Self::Refund)
    }

    /// Whether it is an attempt's own operation: it brings or pays the money. The others follow such a one, or price.
    pub fn is_attempt(self) -> bool {
        match self {
            Self::Authorize | Self::Resume | Self::Pay => true,
            Self::Capture
            | Self::Cancel
            | Self::Refund
            | Self::Reverse
            | Self::Quote
            | Self::Convert
            | Self::Sweep
            | Self::Poll => false,
        }
    }
}

/// Whether a channel may take this for a payout: in the payout's asset, or in a currency.
fn is_plain_fee(fee: &Money, paid: &Money) -> bool {
    fee.asset() == paid.asset() || Asset::currency(fee.asset().code()).as_ref() == Some(fee.asset())
}

/// The brands of cards, as [`CardFacts::brand`] and rules name them.
pub const CARD_BRANDS: [&str; 9] = [
    "visa",
    "mastercard",
    "amex",
    "discover",
    "diners",
    "jcb",
    "unionpay",
    "maestro",
    "unknown",
];

/// What the provider needs to know of a card, without the digits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CardFacts {
    /// `visa`, `mastercard`, …
    pub brand: String,
    /// The first six digits.
    pub bin: String,
    /// The last four digits.
    pub last4: String,
    /// 1 to 12.
    pub expiry_month: u8,
    /// Four digits.
    pub expiry_year: u16,
    /// A keyed hash of the number.
    pub fingerprint: String,
    /// Whether the payer gave a security code.
    pub has_code: bool,
    /// The name on the card.
    pub holder: Option<String>,
}

/// What a payer pays with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Instrument {
    /// A stored card: the vault's token, and what it stands for.
    Card(MethodId, CardFacts),
    /// A wallet, by the name that channels have for it: `alipay-plus:ALIPAY_CN`.
    Wallet(String),
    /// A token on a chain, by its asset's code.
    Token(String),
}

impl Instrument {
    /// The stored card, where it is one.
    pub fn method(&self) -> Option<MethodId> {
        match self {
            Self::Card(method, _) => Some(*method),
            Self::Wallet(_) | Self::Token(_) => None,
        }
    }

    /// The payment method as channels name it: `card`, `wallet:alipay-plus`, `token:USDC`.
    pub fn word(&self) -> String {
        match self {
            Self::Card(..) => "card".into(),
            Self::Wallet(name) => format!("wallet:{}", name.split(':').next().unwrap_or_default()),
            Self::Token(code) => format!("token:{}", code.split(':').next().unwrap_or_default()),
        }
    }
}

/// Which side of an exchange is fixed; never both.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fixed {
    /// Exactly this is sold.
    Sell(Money),
    /// Exactly this is bought.
    Buy(Money),
}

/// What an exchange is asked to price.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inquiry {
    /// What is sold.
    pub sell: Asset,
    /// What is bought.
    pub buy: Asset,
    /// The fixed side.
    pub fixed: Fixed,
    /// For how many seconds the price should hold.
    pub lock_s: u32,
}

/// An exchange's price, as the adapter says it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quotation {
    /// The provider's reference.
    pub reference: String,
    /// What is sold.
    pub sell: Money,
    /// What is bought.
    pub buy: Money,
    /// Units of what is bought for one unit of what is sold, all costs in.
    pub rate: Decimal,
    /// The same without costs.
    pub mid: Option<Decimal>,
    /// What the provider takes besides, for the seller to pay.
    pub fee: Option<Money>,
    /// Until when it holds.
    pub expires_ms: u64,
    /// For the conversion.
    pub memo: Option<Memo>,
}

/// A payout's input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PayOrder {
    /// The same on every hop.
    pub uetr: Uuid,
    /// Who is paid, where, and why.
    pub terms: PayoutTerms,
    /// Who pays, as the beneficiary sees it.
    pub originator: String,
    /// The bodies of what left for this payout and waits: the write that is asked for now takes its place. Never stored.
    #[serde(skip)]
    pub replaces: Vec<String>,
}

/// An authorization's input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authorization {
    /// Capture at once.
    pub capture: bool,
    /// What the payer pays with.
    pub instrument: Instrument,
    /// Text for the payer's statement and the provider's console.
    pub description: String,
    /// At most 22 characters on the payer's statement.
    pub statement_descriptor: Option<String>,
    /// Who pays: name and e-mail.
    pub payer_name: Option<String>,
    /// The payer's e-mail.
    pub payer_email: Option<String>,
    /// When the provider may stop waiting for the payer.
    pub expires_ms: u64,
    /// A number of its own on this channel, never given twice: deposit addresses are made from it.
    #[serde(default)]
    pub index: u64,
    /// Whether the payer must be authenticated, whatever the issuer would let pass.
    #[serde(default)]
    pub must_authenticate: bool,
}

/// An earlier operation that another is about, or asks after.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// What the earlier operation did.
    pub kind: Kind,
    /// Its id.
    pub operation: OperationId,
    /// The keys that it used.
    pub keys: Vec<String>,
    /// The provider's reference of the operation itself.
    pub reference: Option<String>,
    /// The provider's reference of what it acts on.
    pub parent_reference: Option<String>,
    /// Its amount.
    pub amount: Money,
    /// When it started.
    pub started_ms: u64,
    /// What the adapter left on the payment.
    pub memo: Option<Memo>,
    /// The bodies of the writes that it sent, in order, as the adapter made them: secrets are words in them.
    #[serde(default)]
    pub sent: Vec<String>,
    /// What the books have as taken by it, where anything is.
    #[serde(default)]
    pub captured: Option<Money>,
    /// Since when.
    #[serde(default)]
    pub captured_ms: Option<u64>,
    /// The provider's references of the disputes for which the channel has money of it.
    #[serde(default)]
    pub disputed: Vec<String>,
}

/// What an adapter leaves for later operations on the same payment: at most 16 KiB, in a format that it numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Memo {
    /// The adapter's number for the format.
    pub format: u16,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How many idempotency keys an operation gets: as many writes as it may have.
pub const KEYS: u8 = 8;

/// What an operation is given, besides its context.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Input {
    /// Authorize.
    Authorize(Authorization),
    /// Resume, with what the browser brought along.
    Resume(Authorization, Target, Vec<(String, String)>),
    /// Capture; whether nothing more will be captured.
    Capture(Target, bool),
    /// Cancel.
    Cancel(Target),
    /// Refund, with the reason.
    Refund(Target, Option<String>),
    /// Reverse.
    Reverse(Target),
    /// Price an exchange.
    Quote(Inquiry),
    /// Exchange at this quotation.
    Convert(Quotation),
    /// Pay.
    Pay(PayOrder),
    /// Sweep what the target brought; what left for it already and waits is in the target's `sent`.
    Sweep(Target),
    /// Read on from this place.
    Poll(Vec<u8>),
    /// What became of the target?
    Status(Target),
}

impl Input {
    /// The same, for another write beside these, which left and wait; `None`: nothing takes the place of such a write.
    pub fn in_place_of(&self, left: Vec<String>) -> Option<Self> {
        match self {
            Self::Pay(order) => Some(Self::Pay(PayOrder {
                replaces: left,
                ..order.clone()
            })),
            Self::Sweep(target) => Some(Self::Sweep(Target {
                sent: left,
                ..target.clone()
            })),
            _ => None,
        }
    }

    /// Whether it asks for such a write.
    pub fn is_in_place(&self) -> bool {
        match self {
            Self::Pay(order) => !order.replaces.is_empty(),
            Self::Sweep(target) => !target.sent.is_empty(),
            _ => false,
        }
    }
}

/// What the operation may know, fixed and journaled: the same arguments give the same step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Context {
    /// The operation.
    pub operation: OperationId,
    /// Idempotency keys for the provider, one per write.
    pub keys: Vec<String>,
    /// When the operation started.
    pub now_ms: u64,
    /// The only randomness.
    pub entropy: [u8; 32],
    /// The channel's settings, JSON.
    pub settings: String,
    /// Handles of secrets and sessions, by name.
    pub secrets: Vec<(String, String)>,
    /// Handle of the card number.
    pub card_number: String,
    /// Handle of the security code, where the payer gave one.
    pub card_code: Option<String>,
    /// Where the provider notifies.
    pub notify_url: String,
    /// Where the payer comes back to.
    pub return_url: String,
}

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Progress {
    /// Intent written, outcome not yet.
    Open,
    /// A write left and nobody knows what it did.
    Unknown,
    /// The provider, or the payer, is at it: that is on disk, and more will come.
    Waiting,
    /// The outcome is on disk.
    Concluded,
}

impl Progress {
    /// The word for storage and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Unknown => "unknown",
            Self::Waiting => "waiting",
            Self::Concluded => "concluded",
        }
    }
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The payment that it belongs to.
    pub payment: PaymentId,
    /// Whose it is.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The account at the provider.
    pub channel: ChannelId,
    /// The adapter version, by digest: it stays the same for the whole operation.
    pub adapter: String,
    /// What it does.
    pub kind: Kind,
    /// The attempt that it is part of. A capture or a refund is one operation and has its id.
    pub attempt: AttemptId,
    /// How much it may move.
    pub amount: Money,
    /// Its input.
    pub input: Input,
    /// Its context.
    pub context: Context,
    /// When it started.
    pub started_ms: u64,
    /// How far it is.
    pub progress: Progress,
    /// How often its status was asked in vain.
    pub checks: u32,
    /// Whether it was under way in a backup that was restored: what left after the backup is not known.
    #[serde(default)]
    pub is_restored: bool,
}

impl Operation {
    /// The card that it is paid with.
    pub fn card(&self) -> Option<&CardFacts> {
        match &self.input {
            Input::Authorize(Authorization {
                instrument: Instrument::Card(_, card),
                ..
            })
            | Input::Resume(
                Authorization {
                    instrument: Instrument::Card(_, card),
                    ..
                },
                ..,
            ) => Some(card),
            _ => None,
        }
    }

    /// Whether it tells the channel to authenticate the payer.
    pub fn must_authenticate(&self) -> bool {
        match &self.input {
            Input::Authorize(it) | Input::Resume(it, ..) => it.must_authenticate,
            _ => false,
        }
    }

    /// By which of the channel's functions it is done. What a channel cannot give back by itself, a token on a chain, it pays
    /// to the payer; and what it sweeps it pays to itself.
    pub fn function(&self) -> Kind {
        match (self.kind, &self.input) {
            (Kind::Refund, Input::Pay(_)) | (Kind::Sweep, _) => Kind::Pay,
            (kind, _) => kind,
        }
    }

    /// This operation as the target of another one.
    pub fn as_target(
        &self,
        reference: Option<String>,
        parent: Option<String>,
        memo: Option<Memo>,
        sent: Vec<String>,
    ) -> Target {
        Target {
            kind: if self.kind == Kind::Sweep {
                self.kind
            } else {
                self.function()
            },
            operation: self.id,
            keys: self.context.keys.clone(),
            reference,
            parent_reference: parent,
            amount: self.amount.clone(),
            started_ms: self.started_ms,
            memo,
            sent,
            captured: None,
            captured_ms: None,
            disputed: vec![],
        }
    }
}

impl Operation {
    /// Why an outcome cannot be this operation's, whoever says so: more than was asked, an exchange of other amounts than
    /// were agreed, more back than went out, another currency.
    pub fn contradiction(&self, outcome: &Outcome) -> Option<String> {
        let asked = &self.amount;
        match (outcome, &self.input) {
            (Outcome::Accepted { authorized, .. }, _) if !authorized.fits_in(asked) => {
                Some(format!("{authorized} for the {asked} that were asked"))
            }
            (Outcome::Standing(standing), _) => self.misses(standing),
            (Outcome::Sent { fee: Some(fee), .. }, _) if !is_plain_fee(fee, asked) => {
                Some(format!("a fee of {fee} for {asked}"))
            }
            (Outcome::Converted { sold, bought, .. }, Input::Convert(agreed)) => {
                let keeps = *sold == agreed.sell && agreed.buy.fits_in(bought);
                let why = || format!("{sold} for {bought}, agreed were {} for {}", agreed.sell, agreed.buy);
                (!keeps).then(why)
            }
            (Outcome::Converted { .. }, _) => Some("an exchange that nobody asked for".into()),
            (Outcome::Returned { amount, .. }, _) if amount.is_zero() || !amount.fits_in(&self.amount) => {
                Some(format!("{amount} came back of {}", self.amount))
            }
            (Outcome::Done { amount, .. }, _) if !amount.fits_in(asked) => {
                Some(format!("{amount}, asked were {asked}"))
            }
            (Outcome::Done { amount, .. }, _) if self.kind.moves() && amount.is_zero() && !asked.is_zero() => {
                Some(format!("done, and nothing of the {asked}"))
            }
            _ => None,
        }
    }

    /// What a standing says beyond its authorization. What was taken may be more, and is booked as an excess.
    fn misses(&self, standing: &Standing) -> Option<String> {
        let totals = [&standing.authorized, &standing.captured, &standing.received];
        let other = totals
            .into_iter()
            .flatten()
            .find(|total| total.asset() != self.amount.asset());
        if let Some(other) = other {
            return Some(format!("the provider speaks of {other}, asked were {}", self.amount));
        }
        let mut disputed = standing.disputes.iter().map(|it| &it.amount);
        if let Some(other) = disputed.find(|it| it.is_zero() || it.asset() != self.amount.asset()) {
            return Some(format!("{other} are disputed of {}", self.amount));
        }
        let authorized = standing.authorized.as_ref().filter(|_| self.kind.is_attempt())?;
        let why = || format!("{authorized} authorized, asked were {}", self.amount);
        (!authorized.fits_in(&self.amount)).then(why)
    }
}

/// What a decline allows next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Retry {
    /// Never again, on no channel.
    Never,
    /// At once on another channel.
    OtherChannel,
    /// Later.
    Later,
    /// With the payer's authentication.
    AfterAuthentication,
    /// With other data.
    AfterCorrection,
}

impl Retry {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OtherChannel => "other_channel",
            Self::Later => "later",
            Self::AfterAuthentication => "after_authentication",
            Self::AfterCorrection => "after_correction",
        }
    }

    /// What that word allows.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Never,
            Self::OtherChannel,
            Self::Later,
            Self::AfterAuthentication,
            Self::AfterCorrection,
        ]
        .into_iter()
        .find(|it| it.as_str() == word)
    }
}

/// A certain no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decline {
    /// What it allows next.
    pub retry: Retry,
    /// One of the router's decline reasons, `insufficient-funds`: see [`reason`].
    pub reason: String,
    /// The provider's own code, verbatim.
    pub provider_code: String,
    /// The card network's code, verbatim.
    pub network_code: Option<String>,
    /// The network's advice.
    pub advice: Option<String>,
    /// For a human.
    pub message: String,
    /// How long to wait before another attempt, where the network says it.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Whether the card itself is not to be tried again by anybody.
    #[serde(default)]
    pub blocks_card: bool,
}

/// What the payer has to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Go to this URL.
    Redirect(String),
    /// Post this form.
    Form(String, Vec<(String, String)>),
    /// Scan this.
    Qr(String),
    /// Send exactly this amount to this address.
    TransferTo(String, Money),
    /// Something else: its kind and value.
    Other(String, String),
}

/// A page of a provider's feed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FeedPage {
    /// What it tells about, as a notification would.
    pub subjects: Vec<Subject>,
    /// Where to read on.
    pub cursor: Vec<u8>,
    /// When to read on.
    pub check_after_ms: u32,
}

/// What a notification or a feed is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// Our key.
    pub key: Option<String>,
    /// The provider's reference.
    pub reference: Option<String>,
    /// The provider's event id.
    pub event: String,
}

/// Stands before the event id of news about a dispute: what is captured is asked about for these alone.
const DISPUTE_EVENT: &str = "dispute:";

impl Subject {
    /// The same news, about a dispute.
    #[must_use]
    pub fn about_dispute(self) -> Self {
        Self {
            event: format!("{DISPUTE_EVENT}{}", self.event),
            ..self
        }
    }

    /// Whether it is about a dispute.
    pub fn is_dispute(&self) -> bool {
        self.event.starts_with(DISPUTE_EVENT)
    }
}

/// The provider's word on an authorization, in its own totals.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// The provider's reference.
    pub reference: String,
    /// Where it stands.
    pub state: State,
    /// What is authorized in all.
    pub authorized: Option<Money>,
    /// What is captured in all.
    pub captured: Option<Money>,
    /// What is refunded in all.
    pub refunded: Option<Money>,
    /// What really arrived, whatever was asked.
    #[serde(default)]
    pub received: Option<Money>,
    /// Why it failed.
    pub declined: Option<Decline>,
    /// What payers' banks want back of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disputes: Vec<DisputeNews>,
    /// After how many milliseconds to look again although it is taken: it may be undone yet.
    #[serde(default)]
    pub watch_ms: Option<u32>,
    /// After how many milliseconds what came is to be brought to where payouts are made from.
    #[serde(default)]
    pub sweep_ms: Option<u32>,
    /// What came of the payer's authentication.
    #[serde(default)]
    pub authentication: Option<Authentication>,
}

/// Where an authorization stands at the provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// For the payer, or for somebody else.
    Waiting,
    /// The money is held.
    Authorized,
    /// The money is taken.
    Captured,
    /// A certain no.
    Failed,
    /// Voided.
    Canceled,
    /// Lapsed.
    Expired,
    /// Undone.
    Reversed,
    /// Taken, and disputed since.
    Disputed,
}

/// What an adapter says came of an operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// An authorization is there.
    Accepted {
        /// The provider's reference.
        reference: String,
        /// How much.
        authorized: Money,
        /// Whether it is captured as well.
        captured: bool,
        /// The card network's reference.
        network_reference: Option<String>,
        /// What came of the payer's authentication, where the provider says it.
        #[serde(default)]
        authentication: Option<Authentication>,
        /// For later operations.
        memo: Option<Memo>,
    },
    /// Somebody else has to act first.
    Waiting {
        /// The provider's reference.
        reference: Option<String>,
        /// What the payer has to do.
        action: Option<Action>,
        /// When to ask again.
        check_after_ms: u32,
        /// For later operations.
        memo: Option<Memo>,
    },
    /// A capture, cancel, refund or reversal is done.
    Done {
        /// The provider's reference.
        reference: String,
        /// How much.
        amount: Money,
        /// For later operations.
        memo: Option<Memo>,
    },
    /// A price.
    Quoted(Quotation),
    /// An exchange is done.
    Converted {
        /// The provider's reference.
        reference: String,
        /// What was sold.
        sold: Money,
        /// What was bought.
        bought: Money,
        /// For later operations.
        memo: Option<Memo>,
    },
    /// The quotation no longer holds: certainly not exchanged.
    Expired,
    /// A page of a feed.
    Page(FeedPage),
    /// A payout is on its way, or there.
    Sent {
        /// The provider's reference.
        reference: String,
        /// Whether the beneficiary has it.
        is_final: bool,
        /// When to ask again, where not.
        check_after_ms: u32,
        /// ISO 20022's external code of where it stands, `ACSP`.
        iso_status: Option<String>,
        /// What the provider took.
        fee: Option<Money>,
        /// For later operations.
        memo: Option<Memo>,
        /// It waits for too low a price: another write that excludes it may take its place.
        may_replace: bool,
    },
    /// A payout was there, or on its way, and came back.
    Returned {
        /// The provider's reference.
        reference: String,
        /// How much came back.
        amount: Money,
        /// ISO 20022's external reason, `AC04`, or the provider's word.
        reason: String,
    },
    /// A certain no.
    Declined(Decline),
    /// The answer of a status query.
    Standing(Standing),
    /// The provider knows no such operation.
    NotFound,
    /// Nobody knows.
    Unknown(Doubt),
}

/// Why nobody knows, and the provider's reference where an earlier reply brought one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Doubt {
    /// What happened.
    pub why: String,
    /// The provider's reference.
    pub reference: Option<String>,
}

impl From<String> for Doubt {
    fn from(why: String) -> Self {
        Self { why, reference: None }
    }
}

#[cfg(test)]
mod tests;
