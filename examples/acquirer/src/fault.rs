//! Scripted faults, chosen by the last three digits of the amount: what providers really do when things go wrong.

/// What goes wrong with one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The charge is made; no answer ever comes.
    TimeoutThenSuccess,
    /// The charge is declined; no answer ever comes.
    TimeoutThenDecline,
    /// No answer; the charge shows only some seconds later.
    LateSuccess,
    /// The charge is made; the answer is a 500.
    ErrorAfterEffect,
    /// The charge is made; the answer is not JSON.
    Garbage,
    /// The charge is made; half of the answer comes.
    HalfBody,
    /// The charge is made; the answer trickles.
    SlowBody,
    /// The charge is made; the connection is reset.
    Reset,
    /// The charge is made, and told three times.
    DuplicateNotifications,
    /// The charge is made; an old notification comes after the new one.
    ReorderedNotifications,
    /// Nothing is made; the answer is a 500.
    ErrorWithoutEffect,
    /// Nothing is made; the connection is reset.
    ResetWithoutEffect,
    /// More is authorized than was asked for.
    ClaimsMore,
    /// The charge is made; no answer ever comes, and nobody is told of it until it is reversed.
    Mute,
}

/// The table: amount modulo 1,000.
pub const TABLE: [(u64, Fault); 14] = [
    (901, Fault::TimeoutThenSuccess),
    (902, Fault::TimeoutThenDecline),
    (903, Fault::LateSuccess),
    (904, Fault::ErrorAfterEffect),
    (905, Fault::Garbage),
    (906, Fault::HalfBody),
    (907, Fault::SlowBody),
    (908, Fault::Reset),
    (909, Fault::DuplicateNotifications),
    (910, Fault::ReorderedNotifications),
    (911, Fault::ErrorWithoutEffect),
    (912, Fault::ResetWithoutEffect),
    (913, Fault::ClaimsMore),
    (914, Fault::Mute),
];

/// The fault of an amount.
pub fn of_amount(amount: u64) -> Fault {
    TABLE
        .iter()
        .find(|(digits, _)| amount % 1_000 == *digits)
        .map_or(Fault::None, |(_, fault)| *fault)
}

impl Fault {
    /// Whether the provider acts on the request.
    pub fn has_effect(self) -> bool {
        !matches!(self, Self::ErrorWithoutEffect | Self::ResetWithoutEffect)
    }
}
