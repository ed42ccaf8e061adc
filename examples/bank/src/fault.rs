//! Scripted faults, chosen by the last three digits of the amount in minor units: what banks really do when things go wrong.

/// What goes wrong with one transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is taken; no answer ever comes.
    TimeoutThenSuccess,
    /// It is taken; the answer is a 500.
    ErrorAfterEffect,
    /// It is not taken; the answer is a 500.
    ErrorWithoutEffect,
    /// The account holds too little.
    InsufficientFunds,
    /// It is taken, and refused later: the other account is closed.
    AccountClosed,
    /// It is settled, and comes back later.
    ReturnedAfterPaid,
    /// It stays on its way.
    NeverPaid,
    /// The bank keeps 1.50 that it had not told of.
    Charged,
}

/// The table: amount modulo 1,000.
const TABLE: [(u64, Fault); 8] = [
    (922, Fault::TimeoutThenSuccess),
    (923, Fault::ErrorAfterEffect),
    (924, Fault::ErrorWithoutEffect),
    (925, Fault::InsufficientFunds),
    (931, Fault::AccountClosed),
    (932, Fault::ReturnedAfterPaid),
    (933, Fault::NeverPaid),
    (934, Fault::Charged),
];

/// The fault of an amount.
pub fn of_amount(minor: u64) -> Fault {
    let digits = minor % 1_000;
    TABLE
        .iter()
        .find(|(known, _)| digits == *known)
        .map_or(Fault::None, |(_, fault)| *fault)
}
