//! Entries of an account: camt.054 (notification), camt.053 (statement) and camt.052 (report) tell them in the same words
//! (ISO 20022, `ReportEntry10`). One entry may hold several transactions.

use crate::{bare, key_of};
use portolan_adapter::types::{Fault, Money, Response};
use portolan_adapter::{currency_exponent, from_major};
use serde::Deserialize;

#[derive(Deserialize)]
struct Document {
    #[serde(
        rename = "BkToCstmrDbtCdtNtfctn",
        alias = "BkToCstmrStmt",
        alias = "BkToCstmrAcctRpt"
    )]
    told: Told,
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "Ntfctn", alias = "Stmt", alias = "Rpt", default)]
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(rename = "Ntry", default)]
    entries: Vec<Entry>,
}

/// One entry.
#[derive(Deserialize, Debug)]
pub struct Entry {
    #[serde(rename = "NtryRef")]
    number: Option<String>,
    #[serde(rename = "Amt")]
    amount: Amount,
    #[serde(rename = "CdtDbtInd")]
    direction: String,
    #[serde(rename = "RvslInd")]
    is_reversal: Option<String>,
    #[serde(rename = "Sts")]
    status: Status,
    #[serde(rename = "BookgDt")]
    booked: Option<Day>,
    #[serde(rename = "ValDt")]
    value: Option<Day>,
    #[serde(rename = "AcctSvcrRef")]
    bank_reference: Option<String>,
    #[serde(rename = "NtryDtls", default)]
    details: Vec<Details>,
}

#[derive(Deserialize, Debug)]
struct Amount {
    #[serde(rename = "@Ccy")]
    currency: String,
    #[serde(rename = "$text")]
    amount: String,
}

#[derive(Deserialize, Debug)]
struct Status {
    /// Until 2019 the code stood here itself.
    #[serde(rename = "Cd")]
    code: Option<String>,
    #[serde(rename = "$text")]
    text: Option<String>,
}

#[derive(Deserialize, Debug)]
struct Day {
    #[serde(rename = "Dt")]
    date: Option<String>,
    #[serde(rename = "DtTm")]
    time: Option<String>,
}

#[derive(Deserialize, Debug)]
struct Details {
    #[serde(rename = "TxDtls", default)]
    transactions: Vec<Transaction>,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct Transaction {
    #[serde(rename = "Refs", default)]
    references: References,
    #[serde(rename = "Chrgs", default)]
    charges: Vec<Charges>,
    #[serde(rename = "RmtInf", default)]
    remittance: Remittance,
    #[serde(rename = "RtrInf")]
    returned: Option<Returned>,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct References {
    #[serde(rename = "AcctSvcrRef")]
    bank: Option<String>,
    #[serde(rename = "EndToEndId")]
    end_to_end: Option<String>,
}

#[derive(Deserialize, Debug, Clone)]
struct Charges {
    #[serde(rename = "TtlChrgsAndTaxAmt")]
    total: Option<Charge>,
}

#[derive(Deserialize, Debug, Clone)]
struct Charge {
    #[serde(rename = "@Ccy")]
    currency: String,
    #[serde(rename = "$text")]
    amount: String,
}

#[derive(Deserialize, Debug, Default, Clone)]
struct Remittance {
    #[serde(rename = "Ustrd", default)]
    texts: Vec<String>,
}

#[derive(Deserialize, Debug, Clone)]
struct Returned {
    #[serde(rename = "Rsn")]
    reason: Option<Reason>,
}

#[derive(Deserialize, Debug, Clone)]
struct Reason {
    #[serde(rename = "Cd", alias = "Prtry")]
    code: Option<String>,
}

impl Entry {
    /// Whether it is on the account: what is only expected counts for nothing.
    pub fn is_booked(&self) -> bool {
        let code = self.status.code.as_deref().or(self.status.text.as_deref());
        code.map(str::trim) == Some("BOOK")
    }

    pub fn is_credit(&self) -> Result<bool, Fault> {
        match self.direction.as_str() {
            "CRDT" => Ok(true),
            "DBIT" => Ok(false),
            other => Err(Fault::Protocol(format!("an entry goes {other:?}: CRDT or DBIT"))),
        }
    }

    pub fn amount(&self) -> Result<Money, Fault> {
        money(&self.amount.amount, &self.amount.currency)
    }

    /// What the bank kept of it, where it tells.
    pub fn charges(&self) -> Result<Option<Money>, Fault> {
        let total = self.sole().and_then(|it| it.charges.into_iter().next()?.total);
        total.map(|it| money(&it.amount, &it.currency)).transpose()
    }

    /// The bank's own name for it. A number within a statement is none: the next statement has it too.
    pub fn reference(&self) -> Option<String> {
        let of_transaction = || self.sole().and_then(|it| it.references.bank);
        self.bank_reference.clone().or_else(of_transaction)
    }

    /// What tells it from every other entry, in whichever document it stands.
    pub fn identity(&self) -> String {
        let parts = [
            self.reference().or_else(|| self.number.clone()).unwrap_or_default(),
            self.value_date(),
            self.direction.clone(),
            self.amount.amount.clone(),
            self.end_to_end().unwrap_or_default(),
        ];
        parts.join(" ")
    }

    /// What moved before the bank took its share: more than what came, less than what went.
    pub fn gross(&self) -> Result<Money, Fault> {
        let net = self.amount()?;
        let Some(fee) = self.charges()?.filter(|fee| fee.asset == net.asset) else {
            return Ok(net);
        };
        let units = |money: &Money| money.units.parse::<u128>().ok();
        let is_credit = self.is_credit()?;
        let sum = units(&net).zip(units(&fee)).and_then(|(net, fee)| match is_credit {
            true => net.checked_add(fee),
            false => net.checked_sub(fee),
        });
        // Charges that are more than the entry are no part of it: what does not add up, the host says.
        Ok(match sum {
            Some(sum) => Money {
                units: sum.to_string(),
                ..net
            },
            None => net,
        })
    }

    /// The end-to-end reference.
    pub fn end_to_end(&self) -> Option<String> {
        self.sole()?.references.end_to_end
    }

    /// The key of the router's own transfer that it is about.
    pub fn key(&self) -> Option<String> {
        key_of(&self.end_to_end()?)
    }

    /// Whether it is about the router's transfer with that key.
    pub fn is_about(&self, key: &str) -> bool {
        self.end_to_end().is_some_and(|it| it.eq_ignore_ascii_case(&bare(key)))
    }

    /// Why money came back; `None`: it is no return.
    pub fn return_reason(&self) -> Option<String> {
        let returned = self.sole().and_then(|it| it.returned);
        let is_reversal = matches!(self.is_reversal.as_deref(), Some("true" | "1"));
        match returned {
            Some(returned) => Some(returned.reason.and_then(|it| it.code).unwrap_or_default()),
            None if is_reversal => Some(String::new()),
            None => None,
        }
    }

    /// What the sender wrote.
    pub fn remittance(&self) -> String {
        let texts = self.transactions().flat_map(|it| &it.remittance.texts);
        texts.map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// The day from which on it counts.
    pub fn value_date(&self) -> String {
        let day = self.value.as_ref().or(self.booked.as_ref());
        let text = day.and_then(|day| day.date.as_deref().or(day.time.as_deref()));
        text.and_then(|text| text.get(..10)).unwrap_or_default().to_owned()
    }

    fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.details.iter().flat_map(|it| &it.transactions)
    }

    /// Its transaction, where it has one alone: what stands in one of several says nothing about all.
    fn sole(&self) -> Option<Transaction> {
        let mut all = self.transactions();
        let first = all.next()?;
        all.next().is_none().then(|| first.clone())
    }
}

fn money(amount: &str, currency: &str) -> Result<Money, Fault> {
    let exponent = currency_exponent(currency)
        .ok_or_else(|| Fault::Protocol(format!("{currency:?} is no currency of ISO 4217")))?;
    from_major(amount.trim(), currency, exponent)
}

/// The entries of a whole document.
pub fn read(response: &Response) -> Result<Vec<Entry>, Fault> {
    let bad = |why: String| Fault::Protocol(format!("an account report that cannot be read: {why}"));
    let text = std::str::from_utf8(&response.body).map_err(|error| bad(error.to_string()))?;
    let document: Document = quick_xml::de::from_str(text).map_err(|error| bad(error.to_string()))?;
    Ok(document.told.accounts.into_iter().flat_map(|it| it.entries).collect())
}

/// One entry by itself.
pub fn read_entry(text: &str) -> Result<Entry, Fault> {
    quick_xml::de::from_str(text).map_err(|error| Fault::Protocol(format!("an entry that cannot be read: {error}")))
}
