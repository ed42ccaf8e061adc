//! The reasons of declines that merchants are told: a closed list, so that a shop can act on each. What an adapter says besides
//! is a generic decline, and the provider's own code stands beside it.

/// What stands for every other.
pub const GENERIC: &str = "generic-decline";

/// Each reason and what it means, in alphabetical order; `wit/DECLINES.md` shows them to partners and merchants.
pub const REASONS: [(&str, &str); 46] = [
    ("account-blocked", "The receiving account takes no money now."),
    ("account-closed", "The receiving account is closed."),
    ("amount-too-small", "Less than the provider carries."),
    (
        "authentication-failed",
        "The payer tried to authenticate and did not succeed.",
    ),
    (
        "authentication-required",
        "The issuer wants the payer to authenticate first.",
    ),
    (
        "canceled-at-the-bank",
        "The bank took the order back before it was carried out.",
    ),
    ("card-not-supported", "This kind of card is not taken here."),
    (
        "channel-not-permitted",
        "The merchant's account at the provider may not do this.",
    ),
    ("currency-not-supported", "Not in this currency."),
    ("do-not-honor", "The issuer says no and not why."),
    ("exceeds-captured", "More than was captured, or than is left to refund."),
    ("expired-card", "The card has expired, or its date is wrong."),
    ("gas-limit", "The transaction would need more gas than is granted."),
    ("gas-too-dear", "The network's fee is higher than is granted now."),
    (GENERIC, "None of the others; the provider's code says more."),
    ("incorrect-security-code", "The card's security code is wrong."),
    ("insufficient-funds", "The payer has not enough."),
    (
        "insufficient-gas",
        "The router's own account cannot pay the network's fee.",
    ),
    (
        "insufficient-prefund",
        "The merchant's balance at the provider is too low.",
    ),
    ("invalid-account", "There is no such receiving account."),
    ("invalid-amount", "An amount that the provider does not take."),
    ("invalid-bank", "There is no such bank, or it is not reached."),
    (
        "invalid-beneficiary",
        "What was said of the beneficiary is not complete or not right.",
    ),
    ("invalid-card-number", "There is no such card."),
    ("invalid-date", "Not on that day."),
    (
        "issuer-unavailable",
        "The issuer, or the provider's own system, could not be asked.",
    ),
    (
        "limit-exceeded",
        "Too much at once or in a time, by the payer's limits or the provider's.",
    ),
    ("lost-card", "The card is reported lost."),
    ("money-arrived", "Money is there already: it cannot be canceled."),
    ("name-mismatch", "The account belongs to somebody of another name."),
    ("not-permitted", "The issuer does not let this card be used for that."),
    ("nothing-there", "Nothing lies where it was to be swept from."),
    ("number-taken", "Another transaction took the account's number first."),
    ("one-refund-only", "The provider refunds a payment once."),
    ("order-closed", "The order was closed before it was paid."),
    ("payer-blocked", "The provider has blocked the payer."),
    (
        "payer-not-qualified",
        "The payer has still to prove something to the provider.",
    ),
    ("payer-unknown", "The provider does not know the payer."),
    (
        "processing-error",
        "Something went wrong at the provider, and nothing was moved.",
    ),
    ("refund-closed", "The refund was closed before it was carried out."),
    ("returned-by-bank", "The receiving bank sent it back."),
    ("screening-hit", "A sanctions screening stopped it."),
    ("stolen-card", "The card is reported stolen."),
    ("suspected-fraud", "The issuer or the provider suspects fraud."),
    ("too-late", "The provider's time for it is over."),
    (
        "wrong-state",
        "Not possible any more, or not yet, as the payment stands.",
    ),
];

/// The reason of the list that a word is; [`GENERIC`] if it is none.
pub fn known(word: &str) -> &'static str {
    let at = REASONS.binary_search_by_key(&word, |(reason, _)| reason);
    at.ok()
        .and_then(|at| REASONS.get(at))
        .map_or(GENERIC, |(reason, _)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect_file;

    #[test]
    fn every_reason_is_found_and_nothing_else() {
        assert!(REASONS.is_sorted_by_key(|(reason, _)| reason));
        for (reason, _) in REASONS {
            assert_eq!(known(reason), reason);
        }
        for word in ["", "do-not-honour", "Lost-Card", "zzz"] {
            assert_eq!(known(word), GENERIC, "{word}");
        }
    }

    #[test]
    fn partners_and_merchants_see_this_list() {
        let rows: String = REASONS
            .iter()
            .map(|(reason, means)| format!("| `{reason}` | {means} |\n"))
            .collect();
        let page = format!(
            "# Reasons of a decline\n\nMade of [reason.rs](../host/domain/src/operation/reason.rs); a test holds it to be of today.\n\n\
             An adapter says one of these with every decline, and merchants read it as `decline_reason`; beside it stand the provider's\n\
             own code and message as they came. A word that is not here is told as `{GENERIC}`, and `portolan plugin test` finds it.\n\n\
             | reason | means |\n|---|---|\n{rows}"
        );
        expect_file!["../../../../wit/DECLINES.md"].assert_eq(&page);
    }
}
