//! A provider's refusals as a table: its code, the router's reason, what it allows next. A code that is not in it is a plain
//! decline that is never tried again.

use crate::types::{Decline, Retry};

/// Code, the router's reason, what it allows next.
pub type Declines = &'static [(&'static str, &'static str, Retry)];

/// The refusal of that code; without a text, the code is what it says.
pub fn declined(table: Declines, code: &str, message: &str) -> Decline {
    let row = table.iter().find(|(known, ..)| *known == code);
    let (reason, retry) = row.map_or(("generic-decline", Retry::Never), |(_, reason, retry)| {
        (*reason, *retry)
    });
    let message = if message.is_empty() { code } else { message };
    Decline {
        retry,
        reason: reason.into(),
        provider_code: code.into(),
        network_code: None,
        advice: None,
        message: message.into(),
        extra: vec![],
    }
}
