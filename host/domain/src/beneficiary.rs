//! Who is paid, where and why: [`PayoutTerms`] is the only form that the rest accepts. It owns the checks that hold
//! everywhere (IBAN by ISO 13616, BIC by ISO 9362, addresses on chains); what one country wants besides is data, and
//! the API's.

use crate::ids::{BeneficiaryId, MerchantId, Mode};
use crate::payment::request::{FieldError, check_text};
use serde::{Deserialize, Serialize};

/// Lengths of IBANs by country, from the IBAN registry (SWIFT, release 99), for the countries whose payouts the router
/// has rules for and those around them.
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AT", 20),
    ("BE", 16),
    ("BG", 22),
    ("CH", 21),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GI", 23),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IS", 26),
    ("IT", 27),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SA", 24),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("TR", 26),
    ("VA", 22),
];

/// A natural or a legal person.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PartyKind {
    /// A person.
    Person,
    /// A company.
    Company,
}

/// Who is paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beneficiary {
    /// Person or company.
    pub kind: PartyKind,
    /// The name that the account is under.
    pub name: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Street and number, as lines.
    pub lines: Vec<String>,
    /// The city.
    pub city: Option<String>,
    /// The postcode.
    pub postcode: Option<String>,
    /// Where the money goes.
    pub account: PayoutAccount,
}

/// A beneficiary whom a merchant has stored: a payout may name it instead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredBeneficiary {
    /// Its id.
    pub id: BeneficiaryId,
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// When it was stored.
    pub created_ms: u64,
    /// In which currency the account is paid.
    pub currency: String,
    /// Who, and where.
    pub beneficiary: Beneficiary,
}

/// Where the money goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PayoutAccount {
    /// An IBAN, without spaces, its check digits right.
    Iban(String),
    /// An account by its country's own rules: names and values, `bank_code`, `account_number`, …
    Local(Vec<(String, String)>),
    /// An address on a chain (CAIP-2 network, address).
    Chain(String, String),
}

impl PayoutAccount {
    /// The rail as channels name it.
    pub fn word(&self, currency: &str) -> String {
        match self {
            Self::Iban(_) => "bank:iban".into(),
            Self::Local(_) => "bank:local".into(),
            Self::Chain(..) => format!("token:{}", currency.split(':').next().unwrap_or_default()),
        }
    }

    /// The account with all but its end hidden, as lists and logs may show it.
    pub fn masked(&self) -> String {
        let end = |text: &str| {
            let skip = text.chars().count().saturating_sub(4);
            format!("…{}", text.chars().skip(skip).collect::<String>())
        };
        match self {
            Self::Iban(iban) => end(iban),
            Self::Local(fields) => {
                let number = fields.iter().find(|(name, _)| name == "account_number");
                end(number.map_or("", |(_, value)| value))
            }
            Self::Chain(network, address) => format!("{network} {}", end(address)),
        }
    }
}

/// Who bears what the banks on the way charge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Bearer {
    /// The merchant: ISO 20022 `DEBT`.
    Originator,
    /// Each their own: `SHAR`.
    Shared,
    /// The beneficiary: `CRED`.
    Beneficiary,
}

impl Bearer {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Originator => "originator",
            Self::Shared => "shared",
            Self::Beneficiary => "beneficiary",
        }
    }

    /// The bearer of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Originator, Self::Shared, Self::Beneficiary]
            .into_iter()
            .find(|bearer| bearer.as_str() == word)
    }
}

/// What a payout is for, and to whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PayoutTerms {
    /// Who is paid.
    pub beneficiary: Beneficiary,
    /// Who bears the charges.
    pub bearer: Bearer,
    /// A purpose code, where the corridor wants one.
    pub purpose: Option<String>,
    /// What the beneficiary reads: at most 140 characters.
    pub remittance: String,
}

/// Whether an IBAN has its country's length and the right check digits (ISO 7064, MOD 97-10); `Err` says what is wrong.
pub fn check_iban(iban: &str) -> Result<(), &'static str> {
    let country = iban.get(..2).unwrap_or_default();
    let length = IBAN_LENGTHS.iter().find(|(code, _)| *code == country);
    let Some((_, length)) = length else {
        return Err("its first two letters are no country with IBANs that the router knows");
    };
    if !iban.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Err("an IBAN has capital letters and digits only");
    }
    if iban.len() != *length {
        return Err("it has not the length of its country's IBANs");
    }
    let (head, body) = iban.split_at_checked(4).unwrap_or((iban, ""));
    let remainder = body.bytes().chain(head.bytes()).fold(0_u32, |sum, byte| {
        let value = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            _ => u32::from(byte.wrapping_sub(b'A')).saturating_add(10),
        };
        let shift = if value > 9 { 100 } else { 10 };
        (sum * shift + value) % 97
    });
    if remainder == 1 {
        Ok(())
    } else {
        Err("its check digits are wrong: one of its characters is not what it should be")
    }
}

/// Checks what holds for every beneficiary, at the pointer; what a country wants besides was checked before.
pub fn check(beneficiary: &Beneficiary, at: &str, errors: &mut Vec<FieldError>) {
    check_text(&format!("{at}/name"), Some(&beneficiary.name), 140, errors);
    if beneficiary.name.trim().is_empty() {
        errors.push(FieldError::new(
            format!("{at}/name"),
            "missing",
            "the name that the account is under",
        ));
    }
    let is_country = beneficiary.country.len() == 2 && beneficiary.country.bytes().all(|b| b.is_ascii_uppercase());
    if !is_country {
        let how = "two capital letters of ISO 3166-1, such as DE";
        errors.push(FieldError::new(format!("{at}/country"), "invalid_country", how));
    }
    for line in beneficiary
        .lines
        .iter()
        .chain(&beneficiary.city)
        .chain(&beneficiary.postcode)
    {
        check_text(&format!("{at}/address"), Some(line), 70, errors);
    }
    match &beneficiary.account {
        PayoutAccount::Iban(iban) => {
            if let Err(why) = check_iban(iban) {
                errors.push(FieldError::new(format!("{at}/account/iban"), "invalid_iban", why));
            }
        }
        PayoutAccount::Local(fields) => {
            for (name, value) in fields {
                check_text(&format!("{at}/account/{name}"), Some(value), 64, errors);
            }
        }
        PayoutAccount::Chain(network, address) => {
            if network.starts_with("eip155:") && !is_evm_address(address) {
                let how = "an address is 0x and 40 hexadecimal digits";
                errors.push(FieldError::new(format!("{at}/account/address"), "invalid_address", how));
            }
        }
    }
}

fn is_evm_address(address: &str) -> bool {
    let digits = address.strip_prefix("0x").unwrap_or_default();
    digits.len() == 40 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ibans_of_the_registry_pass_and_a_changed_digit_does_not() {
        let examples = [
            "GB33BUKB20201555555555",
            "DE89370400440532013000",
            "FR1420041010050500013M02606",
            "NL91ABNA0417164300",
            "NO9386011117947",
            "MT84MALT011000012345MTLCAST001S",
        ];
        for iban in examples {
            assert_eq!(check_iban(iban), Ok(()), "{iban}");
        }
        assert!(check_iban("DE89370400440532013001").is_err());
        assert!(check_iban("DE8937040044053201300").is_err());
        assert!(check_iban("XX89370400440532013000").is_err());
        assert!(check_iban("de89370400440532013000").is_err());
    }

    #[test]
    fn only_the_end_of_an_account_is_shown() {
        let account = PayoutAccount::Iban("DE89370400440532013000".into());
        assert_eq!(account.masked(), "…3000");
        assert_eq!(account.word("EUR"), "bank:iban");
    }
}
