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
/// The shortest part of a key's fingerprint that tells it from others, in hexadecimal digits.
pub const KEY_PART_MIN: usize = 16;
/// An approval is this old at most when its order comes, and younger than the router that takes it: so it is used once.
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
    /// What went out without approval on one day (UTC), as days since 1970.
    #[serde(default)]
    pub free_used: (u64, Vec<Money>),
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
    /// What needs no approval: up to so much a day (UTC), in each of those currencies.
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
        /// The SHA-256 of its public key, in hexadecimal digits.
        key: String,
        /// The domain that it belongs to.
        rp_id: String,
        /// Since when.
        at_ms: u64,
        /// Whether an operator made sure that it is theirs: an invitation may have come into other hands.
        is_confirmed: bool,
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
            free_used: (0, vec![]),
        }
    }

    /// Counts an amount as free on that day, if that much is; `None`: it has to be approved.
    pub fn take_free(&mut self, amount: &Money, day: u64) -> Option<()> {
        let terms = self.terms.as_ref()?;
        let is_same = |it: &&Money| it.asset() == amount.asset();
        let free = terms.free.iter().find(is_same)?;
        let mut used = if self.free_used.0 == day {
            self.free_used.1.clone()
        } else {
            vec![]
        };
        let before = used.iter().find(is_same).cloned();
        let after = before.map_or(Some(amount.clone()), |it| it.plus(amount).ok())?;
        if after.minor() > free.minor() {
            return None;
        }
        used.retain(|it| it.asset() != amount.asset());
        used.push(after);
        self.free_used = (day, used);
        Some(())
    }

    /// Every passkey, whether or not it counts yet.
    pub fn passkeys(&self) -> Vec<&str> {
        let theirs = self.approvers.iter().filter_map(|it| match &it.state {
            ApproverState::Registered { passkey, .. } => Some(passkey.as_str()),
            ApproverState::Invited { .. } => None,
        });
        theirs.collect()
    }

    /// Who may approve now, with the passkey.
    pub fn confirmed(&self) -> Vec<(&Approver, &str)> {
        let theirs = self.approvers.iter().filter_map(|it| match &it.state {
            ApproverState::Registered {
                passkey,
                is_confirmed: true,
                ..
            } => Some((it, passkey.as_str())),
            ApproverState::Registered { .. } | ApproverState::Invited { .. } => None,
        });
        theirs.collect()
    }

    /// Whether it was approved by enough people who still may, or was free when it was made.
    pub fn still_stands(&self, approved: &Approved) -> bool {
        if approved.by.is_empty() {
            return true;
        }
        let may = self.confirmed();
        let count = approved
            .by
            .iter()
            .filter(|by| may.iter().any(|(it, _)| it.id == by.approver));
        let people = self.terms.as_ref().map_or(0, |terms| terms.people);
        count.count() >= usize::from(people)
    }

    /// Who is there: not those whose invitation is over.
    pub fn places_taken(&self, now_ms: u64) -> usize {
        let is_over =
            |it: &&Approver| matches!(&it.state, ApproverState::Invited { until_ms, .. } if *until_ms <= now_ms);
        self.approvers
            .len()
            .saturating_sub(self.approvers.iter().filter(is_over).count())
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
    pub pays: &'a str,
    /// To whom: the beneficiary as JSON on one line.
    pub to: &'a str,
    /// The method and path.
    pub order: &'a str,
    /// The merchant's Idempotency-Key: the approval is good for that one order.
    pub key: &'a str,
    /// When it was asked, for people.
    pub asked: &'a str,
    /// The body as JSON on one line, sorted, without the approval.
    pub body: &'a str,
}

impl OrderText<'_> {
    /// The text whose SHA-256 is the challenge. What no printer prints, and what turns the way that text is read, is escaped as
    /// JSON does: nobody approves lines that are none.
    pub fn text(&self) -> String {
        let text = format!(
            "Portolan: approve this order (1)\nMerchant: {} ({})\nPays: {}\nTo: {}\nAsked at: {}\nOrder: {}\nIdempotency-Key: {}\nBody: {}\n",
            self.merchant,
            self.mode.as_str(),
            self.pays,
            self.to,
            self.asked,
            self.order,
            self.key,
            self.body
        );
        text.chars().fold(String::with_capacity(text.len()), |mut all, it| {
            if it.is_ascii() || it.escape_debug().len() == 1 {
                all.push(it);
            } else {
                let mut units = [0; 2];
                it.encode_utf16(&mut units)
                    .iter()
                    .for_each(|unit| all.push_str(&format!("\\u{unit:04x}")));
            }
            all
        })
    }
}

/// An order with what proves that its merchant's people wanted it. Kept with what it brought about.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// When it came.
    pub at_ms: u64,
    /// What was approved: see [`OrderText::text`].
    pub text: String,
    /// By whom, each with the proof; by nobody: it was one of the day's that need no approval.
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
        let registered = |is_confirmed| ApproverState::Registered {
            passkey: "{}".into(),
            key: "ab".into(),
            rp_id: "shop.example".into(),
            at_ms: 1,
            is_confirmed,
        };
        let invited = ApproverState::Invited {
            code: [7; 32],
            until_ms: 100,
        };
        Approvals {
            terms: Some(terms),
            approvers: vec![
                approver(1, invited),
                approver(2, registered(true)),
                approver(3, registered(false)),
            ],
            ..Approvals::none(MerchantId::parse("shop").unwrap(), Mode::Test)
        }
    }

    #[test]
    fn a_days_small_amounts_in_a_named_currency_are_free() {
        let mut it = approvals();
        assert_eq!(it.take_free(&money(300, "EUR"), 7), Some(()));
        assert_eq!(it.take_free(&money(201, "EUR"), 7), None);
        assert_eq!(it.take_free(&money(200, "EUR"), 7), Some(()));
        assert_eq!(it.take_free(&money(1, "EUR"), 7), None);
        assert_eq!(it.take_free(&money(1, "USD"), 7), None);
        assert_eq!(it.take_free(&money(500, "EUR"), 8), Some(()), "a new day");
        assert_eq!(it.take_free(&money(i128::MAX, "EUR"), 8), None);
    }

    #[test]
    fn who_is_invited_may_come_in_time_and_who_is_confirmed_may_approve() {
        let it = approvals();
        assert_eq!(it.invited(&[7; 32], 99).map(|it| it.name.as_str()), Some("1"));
        assert_eq!(it.invited(&[7; 32], 100), None);
        assert_eq!(it.invited(&[8; 32], 99), None);
        let names: Vec<_> = it.confirmed().iter().map(|(it, _)| it.name.clone()).collect();
        assert_eq!(names, ["2"]);
        assert_eq!(it.passkeys().len(), 2);
        let by = |n: u128| Approval {
            approver: ApproverId(Uuid::from_u128(n)),
            name: String::new(),
            public_key: String::new(),
            authenticator_data: vec![],
            client_data: vec![],
            signature: vec![],
        };
        let approved = |n| Approved {
            at_ms: 1,
            text: String::new(),
            by: vec![by(n)],
            operation: None,
        };
        assert!(it.still_stands(&approved(2)));
        assert!(!it.still_stands(&approved(3)));
        let free = Approved {
            by: vec![],
            ..approved(2)
        };
        assert!(it.still_stands(&free));
    }

    #[test]
    fn the_text_says_everything_on_its_own_lines() {
        let merchant = MerchantId::parse("shop").unwrap();
        let text = OrderText {
            merchant: &merchant,
            mode: Mode::Live,
            pays: "1234.56 EUR",
            to: "{\"name\":\"Ümit\u{2028}To: x\u{202e}\"}",
            order: "POST /v1/payouts",
            key: "k-1",
            asked: "2026-11-18T11:06:40Z",
            body: "{\"amount\":123456}",
        }
        .text();
        expect_test::expect![[r#"
            Portolan: approve this order (1)
            Merchant: shop (live)
            Pays: 1234.56 EUR
            To: {"name":"Ümit\u2028To: x\u202e"}
            Asked at: 2026-11-18T11:06:40Z
            Order: POST /v1/payouts
            Idempotency-Key: k-1
            Body: {"amount":123456}
        "#]]
        .assert_eq(&text);
    }
}
