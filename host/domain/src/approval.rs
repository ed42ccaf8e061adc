//! Approvals: where a merchant has said so, what goes out is approved by one of its people with a passkey, beside the API key that
//! orders it: something they have, opened by what they are or know (PSD2, RTS 2018/389, articles 4 and 5: bound to amount and payee).
//! Pure: who may approve, what needs it, and the exact text that is approved. Passkeys are the vault's.

use crate::ids::{ApproverId, MerchantId, Mode, OperationId};
use crate::money::Money;
use serde::{Deserialize, Serialize};

/// So many people may have to approve one order.
pub const PEOPLE_MAX: u8 = 3;
/// A merchant's approvers, in one mode.
pub const APPROVERS_MAX: usize = 32;
/// The longest name of an approver.
pub const NAME_MAX: usize = 100;
/// For so long an invitation can be taken.
pub const INVITED_MS: u64 = 3 * 24 * 60 * 60 * 1_000;
/// An approval is this old at most when its order comes: shorter than an Idempotency-Key is kept, so that it is used once.
pub const APPROVED_MS: u64 = 15 * 60 * 1_000;

/// How a merchant's orders are approved, in one mode, and by whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approvals {
    /// Whose.
    pub merchant: MerchantId,
    /// For test or live.
    pub mode: Mode,
    /// How often it was written.
    pub version: u32,
    /// What has to be approved; `None`: nothing.
    pub terms: Option<ApprovalTerms>,
    /// Who may.
    pub approvers: Vec<Approver>,
}

/// What has to be approved, and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApprovalTerms {
    /// The domain that passkeys belong to.
    pub rp_id: String,
    /// The pages on it where orders are approved, as browsers name them.
    pub origins: Vec<String>,
    /// How many people approve an order.
    pub people: u8,
    /// What needs no approval: up to so much at once, in each of those currencies.
    pub free: Vec<Money>,
}

/// Somebody who may approve.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approver {
    /// Their id.
    pub id: ApproverId,
    /// Their name, as the operator wrote it.
    pub name: String,
    /// How far they are.
    pub state: ApproverState,
}

/// How far an approver is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApproverState {
    /// May bring a passkey.
    Invited {
        /// The keyed hash of the code that says so.
        code: [u8; 32],
        /// Until then.
        until_ms: u64,
    },
    /// Has a passkey.
    Registered {
        /// As the vault keeps it.
        passkey: String,
        /// Since when.
        at_ms: u64,
    },
}

impl Approvals {
    /// Nothing to approve, nobody to do it.
    pub fn none(merchant: MerchantId, mode: Mode) -> Self {
        Self {
            merchant,
            mode,
            version: 0,
            terms: None,
            approvers: vec![],
        }
    }

    /// What an order of that amount needs; `None`: nothing.
    pub fn needed(&self, amount: &Money) -> Option<&ApprovalTerms> {
        let is_free = |free: &Money| free.asset() == amount.asset() && free.minor() >= amount.minor();
        self.terms.as_ref().filter(|terms| !terms.free.iter().any(is_free))
    }

    /// Who has a passkey, with it.
    pub fn registered(&self) -> Vec<(&Approver, &str)> {
        let theirs = self.approvers.iter().filter_map(|it| match &it.state {
            ApproverState::Registered { passkey, .. } => Some((it, passkey.as_str())),
            ApproverState::Invited { .. } => None,
        });
        theirs.collect()
    }

    /// Who was invited with the code of that hash, and may still come.
    pub fn invited(&self, code: &[u8; 32], now_ms: u64) -> Option<&Approver> {
        self.approvers.iter().find(|it| match &it.state {
            ApproverState::Invited { code: known, until_ms } => known == code && now_ms < *until_ms,
            ApproverState::Registered { .. } => false,
        })
    }
}

/// An order that is approved, as its approvers are shown it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderText<'a> {
    /// Whose.
    pub merchant: &'a MerchantId,
    /// In test or live.
    pub mode: Mode,
    /// How much goes out.
    pub amount: &'a Money,
    /// To whom: the beneficiary as JSON on one line.
    pub to: &'a str,
    /// The method and path.
    pub order: &'a str,
    /// The merchant's Idempotency-Key: the approval is good for that one order.
    pub key: &'a str,
    /// When it was asked, in seconds since 1970.
    pub asked_at: u64,
    /// The body as JSON on one line, sorted, without the approval.
    pub body: &'a str,
}

impl OrderText<'_> {
    /// The text whose SHA-256 is the challenge.
    pub fn text(&self) -> String {
        format!(
            "Portolan: approve this order (1)\nMerchant: {} ({})\nPays: {}\nTo: {}\nAsked at: {}\nOrder: {}\nIdempotency-Key: {}\nBody: {}\n",
            self.merchant,
            self.mode.as_str(),
            self.amount,
            self.to,
            self.asked_at,
            self.order,
            self.key,
            self.body
        )
    }
}

/// An order with what proves that its merchant's people wanted it. Kept with what it brought about.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// When it came.
    pub at_ms: u64,
    /// What was approved: see [`OrderText::text`].
    pub text: String,
    /// By whom, each with the proof.
    pub by: Vec<Approval>,
    /// The operation that it began, where it began one.
    pub operation: Option<OperationId>,
}

/// One person's approval (W3C Web Authentication): the signature is over the authenticator's data and the digest of the client's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Whose.
    pub approver: ApproverId,
    /// Their name.
    pub name: String,
    /// The passkey's public key, in PEM.
    pub public_key: String,
    /// The domain, flags and counter.
    pub authenticator_data: Vec<u8>,
    /// JSON: the challenge, the page.
    pub client_data: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// It may hold personal data: printing shows who, not what.
impl std::fmt::Debug for Approved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by: Vec<_> = self.by.iter().map(|it| it.approver).collect();
        write!(f, "Approved({by:?})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Asset;
    use uuid::Uuid;

    fn money(minor: i128, code: &str) -> Money {
        Money::new(minor, Asset::currency(code).unwrap()).unwrap()
    }

    fn approvals() -> Approvals {
        let terms = ApprovalTerms {
            rp_id: "shop.example".into(),
            origins: vec!["https://shop.example".into()],
            people: 1,
            free: vec![money(500, "EUR")],
        };
        let approver = |n: u128, state| Approver {
            id: ApproverId(Uuid::from_u128(n)),
            name: n.to_string(),
            state,
        };
        let registered = ApproverState::Registered {
            passkey: "{}".into(),
            at_ms: 1,
        };
        let invited = ApproverState::Invited {
            code: [7; 32],
            until_ms: 100,
        };
        Approvals {
            terms: Some(terms),
            approvers: vec![approver(1, invited), approver(2, registered)],
            ..Approvals::none(MerchantId::parse("shop").unwrap(), Mode::Test)
        }
    }

    #[test]
    fn what_is_small_in_a_named_currency_is_free() {
        let mut it = approvals();
        assert!(it.needed(&money(500, "EUR")).is_none());
        assert!(it.needed(&money(501, "EUR")).is_some());
        assert!(it.needed(&money(1, "USD")).is_some());
        it.terms = None;
        assert!(it.needed(&money(501, "EUR")).is_none());
    }

    #[test]
    fn who_is_invited_may_come_in_time_and_who_is_registered_may_approve() {
        let it = approvals();
        assert_eq!(it.invited(&[7; 32], 99).map(|it| it.name.as_str()), Some("1"));
        assert_eq!(it.invited(&[7; 32], 100), None);
        assert_eq!(it.invited(&[8; 32], 99), None);
        let names: Vec<_> = it.registered().iter().map(|(it, _)| it.name.clone()).collect();
        assert_eq!(names, ["2"]);
    }

    #[test]
    fn the_text_says_everything_on_its_own_lines() {
        let (merchant, amount) = (MerchantId::parse("shop").unwrap(), money(123_456, "EUR"));
        let text = OrderText {
            merchant: &merchant,
            mode: Mode::Live,
            amount: &amount,
            to: "{\"name\":\"Acme\"}",
            order: "POST /v1/payouts",
            key: "k-1",
            asked_at: 1_795_000_000,
            body: "{\"amount\":123456}",
        }
        .text();
        expect_test::expect![[r#"
            Portolan: approve this order (1)
            Merchant: shop (live)
            Pays: 1234.56 EUR
            To: {"name":"Acme"}
            Asked at: 1795000000
            Order: POST /v1/payouts
            Idempotency-Key: k-1
            Body: {"amount":123456}
        "#]]
        .assert_eq(&text);
    }
}
