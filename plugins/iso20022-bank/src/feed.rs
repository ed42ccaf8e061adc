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
const OVERLAP_MS: u64 = 2 * DAY_MS;
const DAY_MS: u64 = 86_400_000;
/// Between two days that are both to be read.
const NEXT_DAY_MS: u32 = 1_000;

impl Feeds for Bank {
    /// One day a page, over and over from the day before yesterday on. The cursor is a time on the day that is next, in
    /// milliseconds as text.
    async fn poll(ctx: &Ctx, cursor: Vec<u8>) -> Result<Page, Fault> {
        let now_ms = ctx.now_ms();
        let next = std::str::from_utf8(&cursor).ok().and_then(|text| text.parse().ok());
        let day_ms: u64 = next.unwrap_or(now_ms.saturating_sub(OVERLAP_MS)).min(now_ms);
        let response = ctx.send(call::transactions(ctx, day_ms, 0)?).await;
        let response = response
            .map_err(|no| Fault::Other(format!("the account cannot be read: {}", portolan_adapter::why(&no))))?;
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
                event: entry.identity(),
                says: None,
                extra: vec![],
            })
        };
        let poll_ms = ctx.setting("/poll_ms").and_then(|value| value.as_u64());
        let poll_ms = poll_ms.and_then(|ms| u32::try_from(ms).ok()).unwrap_or(POLL_MS);
        let is_today = day_ms / DAY_MS >= now_ms / DAY_MS;
        let (next, check_after_ms) = match is_today {
            true => (now_ms.saturating_sub(OVERLAP_MS), poll_ms),
            false => (day_ms.saturating_add(DAY_MS), poll_ms.min(NEXT_DAY_MS)),
        };
        Ok(Page {
            subjects: booked.filter_map(subject).collect(),
            cursor: next.to_string().into_bytes(),
            check_after_ms,
        })
    }
}
