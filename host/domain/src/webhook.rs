//! Where merchants are told of events: an endpoint, what it was told, what it did not take, and when that is tried again
//! (Standard Webhooks 1.0.0 and its schedule). It owns the rules; rendering, signing and sending are the host's.
//!
//! Events go out as they are written, those of one payment one after the other. One that is not taken is parked and tried again by itself while the
//! others go on; an endpoint that takes none of several is failing, and the others wait where they are. So what is parked is
//! little, nothing is lost while an endpoint is away, and one event that it never takes holds up no other.

use crate::ids::{EventId, MerchantId, Mode, WebhookId};
use serde::{Deserialize, Serialize};

/// The most endpoints of a merchant in a mode.
pub const ENDPOINTS_MAX: usize = 16;
/// How many events an endpoint may have parked before the others wait.
const PARKED_MAX: usize = 100;
/// After so many that were not taken, one after the other, an endpoint is failing.
const FAILING_AFTER: u32 = 5;
/// The waits before each further try, in seconds: three days in all.
const WAITS_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// The longest that a receiver may ask the router to wait, in seconds.
const WAIT_MAX_S: u64 = 86_400;
/// How long the secret before the last one still signs.
const ROTATION_MS: u64 = 24 * 3_600 * 1_000;
/// The longest reason that is kept.
const WHY_MAX: usize = 200;

/// What an endpoint's messages are signed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecret {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Until when it signs beside its successor.
    pub until_ms: Option<u64>,
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// A message, as it goes out each time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// What it tells of; its id, the same in every try.
    pub event: EventId,
    /// Its body.
    pub body: String,
}

/// A message that was not taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parked {
    /// The message.
    pub message: Message,
    /// How often it was sent.
    pub tries: usize,
    /// When it is sent again.
    pub next_ms: u64,
}

/// What came of sending a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A status of 2xx.
    Taken(u16),
    /// 410: nobody is there any more.
    Gone,
    /// Anything else, or nothing.
    NotTaken {
        /// The status, where there was one.
        status: Option<u16>,
        /// What happened.
        why: String,
        /// How long the receiver asks to wait.
        wait_s: Option<u64>,
    },
}

/// The last message that was sent, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// When.
    pub at_ms: u64,
    /// The status, where there was one.
    pub status: Option<u16>,
    /// Why it was not taken.
    pub why: Option<String>,
}

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Disabled {
    /// It said that it is gone.
    Gone,
    /// It took nothing for three days.
    Failing,
}

impl Disabled {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// Where a merchant is told of events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    /// Its id.
    pub id: WebhookId,
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// When it was made.
    pub created_ms: u64,
    /// Where messages go.
    pub url: String,
    /// Which events: `refund.succeeded`, `payment.*`; all, if empty.
    pub events: Vec<String>,
    /// The merchant's words for it.
    pub description: Option<String>,
    /// The newest first.
    pub secrets: Vec<WebhookSecret>,
    /// The last event that was looked at; `None`: there was none before the endpoint.
    pub cursor: Option<EventId>,
    /// What was not taken yet.
    pub parked: Vec<Parked>,
    /// How many messages were not taken since the last that was.
    pub failed_in_a_row: u32,
    /// Why nothing is sent.
    pub disabled: Option<Disabled>,
    /// The last message.
    pub last: Option<Delivery>,
    /// How many were taken.
    pub delivered: u64,
    /// How many were given up, while others were taken.
    pub given_up: u64,
}

impl WebhookEndpoint {
    /// Whether it wants to hear of that kind of event.
    pub fn wants(&self, kind: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix(".*") {
            Some(family) => kind.split('.').next() == Some(family),
            None => pattern == kind,
        };
        self.events.is_empty() || self.events.iter().any(fits)
    }

    /// Whether it took none of several messages.
    pub fn is_failing(&self) -> bool {
        self.failed_in_a_row >= FAILING_AFTER
    }

    /// Whether new events go out.
    pub fn goes_on(&self) -> bool {
        self.disabled.is_none() && !self.is_failing() && self.parked.len() < PARKED_MAX
    }

    /// Whether something is to be sent again now.
    pub fn has_due(&self, now_ms: u64) -> bool {
        self.disabled.is_none() && self.parked.iter().any(|it| it.next_ms <= now_ms)
    }

    /// What is sent again now; of an endpoint that is failing one, to see whether it is back.
    pub fn due(&self, now_ms: u64) -> Vec<Message> {
        let is_open = self.disabled.is_none();
        let due = self.parked.iter().filter(|it| is_open && it.next_ms <= now_ms);
        let most = if self.is_failing() { 1 } else { PARKED_MAX };
        due.take(most).map(|it| it.message.clone()).collect()
    }

    /// The secrets that sign now.
    pub fn signing(&self, now_ms: u64) -> impl Iterator<Item = &WebhookSecret> {
        let is_valid = move |it: &&WebhookSecret| it.until_ms.is_none_or(|until| now_ms < until);
        self.secrets.iter().filter(is_valid)
    }

    /// A new secret; the one before signs beside it for a day.
    pub fn rotate(&mut self, bytes: Vec<u8>, now_ms: u64) {
        self.secrets.truncate(1);
        for before in &mut self.secrets {
            before.until_ms = Some(now_ms.saturating_add(ROTATION_MS));
        }
        self.secrets.insert(0, WebhookSecret { bytes, until_ms: None });
    }

    /// It is tried again: what waited goes out, and then what came meanwhile.
    pub fn enable(&mut self, now_ms: u64) {
        self.disabled = None;
        self.failed_in_a_row = 0;
        for parked in &mut self.parked {
            (parked.tries, parked.next_ms) = (0, now_ms);
        }
    }

    /// What came of a message.
    pub fn hear(&mut self, message: Message, answer: Answer, now_ms: u64) {
        let at = self.parked.iter().position(|it| it.message.event == message.event);
        let (status, why) = match &answer {
            Answer::Taken(status) => (Some(*status), None),
            Answer::Gone => (Some(410), Some("gone".to_owned())),
            Answer::NotTaken { status, why, .. } => (*status, Some(why.chars().take(WHY_MAX).collect())),
        };
        let at_ms = now_ms;
        self.last = Some(Delivery { at_ms, status, why });
        match answer {
            Answer::Taken(_) => {
                if let Some(at) = at {
                    self.parked.remove(at);
                }
                self.delivered = self.delivered.saturating_add(1);
                if self.is_failing() {
                    // It is back: nothing waits for its own time any more.
                    self.parked.iter_mut().for_each(|it| it.next_ms = now_ms);
                }
                self.failed_in_a_row = 0;
            }
            Answer::Gone => {
                self.park(message, at, (0, now_ms));
                self.disabled = Some(Disabled::Gone);
            }
            Answer::NotTaken { wait_s, .. } => {
                self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
                self.again_later(message, at, (wait_s, now_ms));
            }
        }
    }

    fn again_later(&mut self, message: Message, at: Option<usize>, (asked_s, now_ms): (Option<u64>, u64)) {
        let tries = at.and_then(|at| self.parked.get(at)).map_or(0, |it| it.tries) + 1;
        match (WAITS_S.get(tries - 1), at) {
            (Some(wait_s), _) => {
                let wait_s = (*wait_s).max(asked_s.unwrap_or(0).min(WAIT_MAX_S));
                // Up to a tenth later, each at its own: what failed at once does not come back at once.
                let [.., last] = message.event.0.into_bytes();
                let wait_ms = wait_s.saturating_mul(1_000 + u64::from(last) * 100 / 255);
                self.park(message, at, (tries, now_ms.saturating_add(wait_ms)));
            }
            (None, _) if self.is_failing() => self.disabled = Some(Disabled::Failing),
            (None, Some(at)) => {
                self.parked.remove(at);
                self.given_up = self.given_up.saturating_add(1);
            }
            (None, None) => {}
        }
    }

    fn park(&mut self, message: Message, at: Option<usize>, (tries, next_ms): (usize, u64)) {
        match at.and_then(|at| self.parked.get_mut(at)) {
            Some(parked) => (parked.tries, parked.next_ms) = (tries, next_ms),
            None => self.parked.push(Parked {
                message,
                tries,
                next_ms,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use uuid::Uuid;

    fn endpoint() -> WebhookEndpoint {
        WebhookEndpoint {
            id: WebhookId(Uuid::nil()),
            merchant: Name::parse("shop").unwrap(),
            mode: Mode::Test,
            created_ms: 0,
            url: "https://shop.example/hooks".into(),
            events: vec![],
            description: None,
            secrets: vec![],
            cursor: None,
            parked: vec![],
            failed_in_a_row: 0,
            disabled: None,
            last: None,
            delivered: 0,
            given_up: 0,
        }
    }

    fn message(n: u128) -> Message {
        Message {
            event: EventId(Uuid::from_u128(n << 8)),
            body: "{}".into(),
        }
    }

    fn no() -> Answer {
        Answer::NotTaken {
            status: Some(500),
            why: "status 500".into(),
            wait_s: None,
        }
    }

    #[test]
    fn events_are_chosen_by_name_or_family() {
        let mut it = endpoint();
        assert!(it.wants("payment.captured"));
        it.events = vec!["refund.*".into(), "payment.captured".into()];
        assert!(it.wants("refund.succeeded") && it.wants("payment.captured"));
        assert!(!it.wants("payment.created") && !it.wants("refunds.x"));
    }

    /// One event that is never taken: the others go on, it is tried ten times over three days, and given up.
    #[test]
    fn one_that_is_never_taken_holds_up_no_other() {
        let mut it = endpoint();
        let mut now_ms = 0;
        it.hear(message(1), no(), now_ms);
        let mut tries = 1;
        while let Some(parked) = it.parked.first().cloned() {
            assert!(it.goes_on());
            assert_eq!(it.due(parked.next_ms - 1), []);
            now_ms = parked.next_ms;
            assert_eq!(it.due(now_ms), [message(1)]);
            it.hear(message(1), no(), now_ms);
            it.hear(message(2), Answer::Taken(200), now_ms);
            tries += 1;
        }
        assert_eq!((tries, it.given_up, it.disabled), (10, 1, None));
        assert_eq!(now_ms / 86_400_000, 3, "three days and a little");
    }

    #[test]
    fn an_endpoint_that_takes_nothing_is_asked_with_one_until_it_does() {
        let mut it = endpoint();
        (1..=5).for_each(|n| it.hear(message(n), no(), 0));
        assert!(it.is_failing() && !it.goes_on());
        assert_eq!(it.due(5_000), [message(1)]);
        it.hear(message(1), Answer::Taken(204), 5_000);
        assert!(it.goes_on());
        assert_eq!(it.due(5_000).len(), 4, "the others follow at once");
        assert_eq!(it.parked.len(), 4);
    }

    #[test]
    fn after_three_days_of_nothing_it_is_disabled_and_loses_nothing() {
        let mut it = endpoint();
        (1..=5).for_each(|n| it.hear(message(n), no(), 0));
        let mut now_ms = 0;
        while it.disabled.is_none() {
            now_ms = it.parked.iter().map(|parked| parked.next_ms).min().unwrap();
            let due = it.due(now_ms).remove(0);
            it.hear(due, no(), now_ms);
        }
        assert_eq!((it.disabled, it.parked.len()), (Some(Disabled::Failing), 5));
        assert!(now_ms > 3 * 86_400_000 && it.due(u64::MAX).is_empty());
        it.enable(now_ms);
        assert_eq!((it.due(now_ms).len(), it.goes_on()), (5, true));
    }

    #[test]
    fn gone_is_gone_until_somebody_says_otherwise() {
        let mut it = endpoint();
        it.hear(message(1), Answer::Gone, 7);
        assert_eq!((it.disabled, it.goes_on()), (Some(Disabled::Gone), false));
        it.enable(8);
        assert_eq!(it.due(8), [message(1)]);
    }

    #[test]
    fn a_receiver_may_ask_to_wait_and_not_for_ever() {
        let mut it = endpoint();
        let wait = |wait_s| Answer::NotTaken {
            status: Some(429),
            why: "status 429".into(),
            wait_s: Some(wait_s),
        };
        it.hear(message(1), wait(600), 0);
        assert_eq!(it.parked.first().unwrap().next_ms, 600_000);
        it.hear(message(2), wait(u64::MAX), 0);
        assert_eq!(it.parked.get(1).unwrap().next_ms, 86_400_000);
    }

    #[test]
    fn two_secrets_sign_while_one_takes_over() {
        let mut it = endpoint();
        it.rotate(vec![1], 0);
        it.rotate(vec![2], 1_000);
        let signing = |it: &WebhookEndpoint, now| it.signing(now).map(|it| it.bytes.clone()).collect::<Vec<_>>();
        assert_eq!(signing(&it, 2_000), [vec![2], vec![1]]);
        assert_eq!(signing(&it, 1_000 + ROTATION_MS), [vec![2]]);
        it.rotate(vec![3], 3_000);
        assert_eq!(signing(&it, 4_000), [vec![3], vec![2]]);
    }
}
