//! Scripted faults, chosen by the last three digits of the amount in minor units: what desks and banks really do when
//! things go wrong.

/// What goes wrong with one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The locked price is gone when it is used.
    QuoteGone,
    /// It is done; no answer ever comes.
    TimeoutThenSuccess,
    /// It is done; the answer is a 500.
    ErrorAfterEffect,
    /// Nothing is done; the answer is a 500.
    ErrorWithoutEffect,
    /// The account at the desk holds too little.
    InsufficientFunds,
    /// The transfer is taken, and fails: the account is closed.
    AccountClosed,
    /// The transfer is paid, and comes back later.
    ReturnedAfterPaid,
    /// The transfer stays on its way.
    NeverPaid,
}

/// The table: amount modulo 1,000.
const TABLE: [(u64, Fault); 8] = [
    (921, Fault::QuoteGone),
    (922, Fault::TimeoutThenSuccess),
    (923, Fault::ErrorAfterEffect),
    (924, Fault::ErrorWithoutEffect),
    (925, Fault::InsufficientFunds),
    (931, Fault::AccountClosed),
    (932, Fault::ReturnedAfterPaid),
    (933, Fault::NeverPaid),
];

/// The fault of an amount.
pub fn of_amount(minor: u64) -> Fault {
    let digits = minor % 1_000;
    TABLE
        .iter()
        .find(|(known, _)| digits == *known)
        .map_or(Fault::None, |(_, fault)| *fault)
}
