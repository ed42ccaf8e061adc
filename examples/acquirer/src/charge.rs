//! Charges and what follows them: the acquirer's own rules, kept apart from HTTP and faults.

use serde::{Deserialize, Serialize};

/// What a merchant's router asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCharge {
    /// The merchant's reference.
    pub reference: String,
    /// Minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: String,
    /// Capture at once.
    pub capture: bool,
    /// `required`: the payer is to be authenticated, whatever the issuer says.
    #[serde(default)]
    pub three_d_secure: Option<String>,
    /// The card.
    pub card: Card,
    /// Where the payer comes back to.
    pub return_url: String,
    /// Where notifications go.
    pub notify_url: String,
}

/// A card.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The digits.
    pub number: String,
    /// 1 to 12.
    pub expiry_month: u8,
    /// Four digits.
    pub expiry_year: u16,
    /// 3 or 4 digits.
    pub security_code: Option<String>,
}

/// A charge. The record keeps no card data but the last four digits.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Charge {
    /// `ch_…`.
    pub id: String,
    /// The idempotency key.
    pub key: String,
    /// The merchant's reference.
    pub reference: String,
    /// Minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: String,
    /// Capture at once.
    pub capture: bool,
    /// `authorized`, `captured`, `declined`, `action_required`, `voided`, `reversed`.
    pub status: String,
    /// Minor units taken.
    pub captured: u64,
    /// Minor units given back.
    pub refunded: u64,
    /// The card's last four digits.
    pub last4: String,
    /// Where the payer comes back to.
    pub return_url: String,
    /// Where notifications go.
    pub notify_url: String,
    /// What the payer's authentication returns.
    pub action_token: Option<String>,
    /// What came of the payer's authentication.
    #[serde(default)]
    pub authentication: Option<Authentication>,
    /// Why it was declined.
    pub decline: Option<Decline>,
    /// Hidden from status queries until then (milliseconds since 1970): a success that comes late.
    pub visible_ms: u64,
    /// What the payer's bank wants back of it.
    #[serde(default)]
    pub disputes: Vec<Dispute>,
}

/// What came of the payer's authentication, in EMV 3-D Secure's words.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Authentication {
    /// `Y`, `A` or `N`.
    pub result: String,
    /// Whether the payer had to do something.
    pub challenge: bool,
    /// The protocol's version.
    pub version: String,
    /// The electronic commerce indicator, of Visa.
    pub eci: String,
}

impl Authentication {
    /// How it ended.
    pub fn new(result: &str, challenge: bool) -> Self {
        let eci = match result {
            "Y" => "05",
            "A" => "06",
            _ => "07",
        };
        Self {
            result: result.into(),
            challenge,
            version: "2.2.0".into(),
            eci: eci.into(),
        }
    }
}

/// The payer's bank wants money back.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Dispute {
    /// `dp_…`.
    pub id: String,
    /// Minor units.
    pub amount: u64,
    /// Why.
    pub reason: String,
    /// The network's code.
    pub network_code: String,
    /// `inquiry`, `needs_response`, `under_review`, `won` or `lost`.
    pub status: String,
    /// Until when it may be answered.
    pub due_ms: u64,
    /// Whether the money was ever taken.
    pub was_taken: bool,
}

/// A decline.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Decline {
    /// ISO 8583 response code, or the acquirer's own.
    pub code: String,
    /// The card network's, where it is the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_code: Option<String>,
    /// For a human.
    pub message: String,
}

impl Decline {
    /// What the network said.
    pub fn of_network(code: &str, message: &str) -> Self {
        Self {
            code: code.into(),
            network_code: Some(code.into()),
            message: message.into(),
        }
    }
}

/// A capture, void, refund or reversal.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct FollowUp {
    /// `op_…`.
    pub id: String,
    /// The idempotency key.
    pub key: String,
    /// The charge.
    pub charge: String,
    /// `capture`, `void`, `refund`, `reversal`.
    pub kind: String,
    /// Minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: String,
    /// `done` or `refused`.
    pub status: String,
    /// Why it was refused.
    pub decline: Option<Decline>,
}

fn decline(code: &str, message: &str) -> Option<Decline> {
    match code {
        // The acquirer's own: what was asked does not fit the charge.
        "R1" | "R2" => Some(Decline {
            code: code.into(),
            network_code: None,
            message: message.into(),
        }),
        _ => Some(Decline::of_network(code, message)),
    }
}

/// What the issuer says to a card, by the familiar test numbers.
pub fn issuer(card: &Card, must_authenticate: bool) -> Result<&'static str, Option<Decline>> {
    match card.number.as_str() {
        "4000002500003155" if !must_authenticate => Err(decline("1A", "the payer must be authenticated")),
        "4000000000003055" if must_authenticate => Ok("authenticated"),
        "4000000000000002" => Err(decline("05", "do not honor")),
        "4000000000009995" => Err(decline("51", "insufficient funds")),
        "4000000000009979" => Err(decline("43", "stolen card")),
        "4000000000000069" => Err(decline("54", "expired card")),
        "4000000000000127" => Err(decline("82", "incorrect security code")),
        "4000000000000119" => Err(decline("96", "processing error")),
        "4000000000003220" => Ok("action_required"),
        _ if must_authenticate => Ok("action_required"),
        _ => Ok("approved"),
    }
}

impl Charge {
    /// The issuer approved.
    pub fn approve(&mut self) {
        if self.capture {
            self.status = "captured".into();
            self.captured = self.amount;
        } else {
            self.status = "authorized".into();
        }
    }

    /// Captures, or says why not.
    pub fn take(&mut self, amount: u64, is_final: bool) -> Result<u64, Option<Decline>> {
        if self.status != "authorized" {
            return Err(decline("R2", "not authorized"));
        }
        let left = self.amount.saturating_sub(self.captured);
        if amount == 0 || amount > left {
            return Err(decline("R1", "more than is authorized"));
        }
        self.captured = self.captured.saturating_add(amount);
        if is_final || self.captured == self.amount {
            self.status = "captured".into();
        }
        Ok(amount)
    }

    /// Voids what is not captured, or says why not.
    pub fn void(&mut self) -> Result<u64, Option<Decline>> {
        match self.status.as_str() {
            "authorized" | "action_required" => {
                self.status = if self.captured > 0 { "captured" } else { "voided" }.into();
                Ok(self.amount.saturating_sub(self.captured))
            }
            _ => Err(decline("R2", "nothing to void")),
        }
    }

    /// Refunds, or says why not.
    pub fn give_back(&mut self, amount: u64) -> Result<u64, Option<Decline>> {
        let left = self.captured.saturating_sub(self.refunded);
        if amount == 0 || amount > left {
            return Err(decline("R1", "more than was captured"));
        }
        self.refunded = self.refunded.saturating_add(amount);
        Ok(amount)
    }

    /// Undoes everything.
    pub fn reverse(&mut self) -> u64 {
        self.status = "reversed".into();
        let amount = self.amount;
        (self.captured, self.refunded) = (0, 0);
        amount
    }
}
