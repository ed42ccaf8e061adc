//! Scripted faults, chosen by the last three digits of the amount: what wallets really do when things go wrong.

/// What goes wrong with one payment or refund.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The payment is made; no answer ever comes.
    TimeoutThenMade,
    /// The payer has too little.
    PoorPayer,
    /// The answer is not signed.
    Unsigned,
    /// The payment is made; the answer is U with a code that says nothing.
    UnknownThenMade,
    /// The refund takes a while: U, REFUND_IN_PROCESS.
    SlowRefund,
    /// What happened is told three times.
    DuplicateNotifications,
    /// A notification with a bad signature comes first.
    ForgedNotification,
    /// Paid at once, without a payer.
    PaidAtOnce,
}

/// The table: amount modulo 1,000.
const TABLE: [(u64, Fault); 8] = [
    (941, Fault::TimeoutThenMade),
    (942, Fault::PoorPayer),
    (943, Fault::Unsigned),
    (944, Fault::UnknownThenMade),
    (945, Fault::SlowRefund),
    (946, Fault::DuplicateNotifications),
    (947, Fault::ForgedNotification),
    (948, Fault::PaidAtOnce),
];

/// The fault of an amount.
pub fn of_amount(value: &str) -> Fault {
    let digits = value.parse::<u64>().map_or(0, |value| value % 1_000);
    TABLE
        .iter()
        .find(|(known, _)| digits == *known)
        .map_or(Fault::None, |(_, fault)| *fault)
}
