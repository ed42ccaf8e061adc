//! The account as a feed: returns and debits of the router's own transfers, as soon as they are booked. What they mean is
//! asked about; they are hints.

use crate::account_report;
use crate::{Bank, call};
use portolan_adapter::feeds::Page;
use portolan_adapter::notifications::Subject;
use portolan_adapter::types::Fault;
use portolan_adapter::{Ctx, Feeds};

/// How often the account is looked at, unless the channel's settings say otherwise.
const POLL_MS: u32 = 60_000;
/// What was booked so long ago is read again: entries come late, and the bank's day is not UTC's.
const OVERLAP_MS: u64 = 2 * 86_400_000;

impl Feeds for Bank {
    /// The cursor is when the account was last read, in milliseconds as text.
    async fn poll(ctx: &Ctx, cursor: Vec<u8>) -> Result<Page, Fault> {
        let now_ms = ctx.now_ms();
        let read_ms = std::str::from_utf8(&cursor).ok().and_then(|text| text.parse().ok());
        let since_ms = read_ms.unwrap_or(now_ms).saturating_sub(OVERLAP_MS);
        let response = ctx.send(call::transactions(ctx, since_ms, 0)?).await;
        let response = response.map_err(|no| Fault::Other(format!("the account cannot be read: {no:?}")))?;
        if response.status != 200 {
            let refused = call::refused_caller(&response);
            let why = || Fault::Other(format!("the account cannot be read: status {}", response.status));
            return Err(refused.unwrap_or_else(why));
        }
        let entries = account_report::read(&response)?;
        let booked = entries.iter().filter(|it| it.is_booked());
        let subject = |entry: &account_report::Entry| {
            Some(Subject {
                key: Some(entry.key()?),
                reference: None,
                event: entry.reference()?,
                says: None,
                extra: vec![],
            })
        };
        let poll_ms = ctx.setting("/poll_ms").and_then(|value| value.as_u64());
        Ok(Page {
            subjects: booked.filter_map(subject).collect(),
            cursor: now_ms.to_string().into_bytes(),
            check_after_ms: poll_ms.and_then(|ms| u32::try_from(ms).ok()).unwrap_or(POLL_MS),
        })
    }
}
