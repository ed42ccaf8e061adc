//! Where merchants are told of events: an endpoint, what it was told, what it did not take, and when that is tried again
//! (Standard Webhooks 1.0.0 and its schedule). It owns the rules; rendering, signing and sending are the host's.
//!
//! Events go out as they are written, those of one payment one after the other. One that is not taken is parked and tried again
//! by itself while the others go on. An endpoint that does not take several that are new is failing: the others wait where they
//! are, and it is probed with an old one and a new one, each few minutes at last. So what is parked is little, nothing is lost
//! while an endpoint is away, and what it never takes holds up nothing for long.

use crate::ids::{EventId, MerchantId, Mode, WebhookId};
use serde::{Deserialize, Serialize};

/// The most endpoints of a merchant in a mode.
pub const ENDPOINTS_MAX: usize = 16;
/// How many events an endpoint may have parked before the others wait.
const PARKED_MAX: usize = 100;
/// After so many new ones that were not taken, one after the other, an endpoint is failing.
pub const FAILING_AFTER: u32 = 5;
/// How long after it began to fail it is probed first, and how seldom at last.
const PROBE_MS: (u64, u64) = (5_000, 300_000);
/// An endpoint that fails for so long is disabled.
const FAILING_MAX_MS: u64 = 3 * 24 * 3_600 * 1_000;
/// How many events that were given up are named.
const LOST_MAX: usize = 20;
/// The most secrets that sign at once.
pub const SECRETS_MAX: usize = 4;
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

/// Since when an endpoint is failing, and when it is probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since_ms: u64,
    /// When it is probed next.
    pub next_ms: u64,
    /// How long after the last time that is.
    pub wait_ms: u64,
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
    /// How many new messages were not taken since the last that was.
    pub failed_in_a_row: u32,
    /// Whether it takes nothing.
    pub failing: Option<Failing>,
    /// Why nothing is sent.
    pub disabled: Option<Disabled>,
    /// The last message.
    pub last: Option<Delivery>,
    /// How many were taken.
    pub delivered: u64,
    /// How many were given up, while others were taken.
    pub given_up: u64,
    /// The last of these.
    pub lost: Vec<EventId>,
}

impl WebhookEndpoint {
    /// One that wants to hear of everything, and has no secret yet.
    pub fn new(id: WebhookId, (merchant, mode): (MerchantId, Mode), url: String, now_ms: u64) -> Self {
        Self {
            id,
            merchant,
            mode,
            created_ms: now_ms,
            url,
            events: vec![],
            description: None,
            secrets: vec![],
            cursor: None,
            parked: vec![],
            failed_in_a_row: 0,
            failing: None,
            disabled: None,
            last: None,
            delivered: 0,
            given_up: 0,
            lost: vec![],
        }
    }

    /// Whether it wants to hear of that kind of event.
    pub fn wants(&self, kind: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix(".*") {
            Some(family) => kind.split('.').next() == Some(family),
            None => pattern == kind,
        };
        self.events.is_empty() || self.events.iter().any(fits)
    }

    /// Whether new events go out, all of them.
    pub fn goes_on(&self) -> bool {
        self.disabled.is_none() && self.failing.is_none() && self.parked.len() < PARKED_MAX
    }

    /// Whether it is to be seen now if it is back.
    pub fn is_to_be_probed(&self, now_ms: u64) -> bool {
        self.disabled.is_none() && self.failing.is_some_and(|it| it.next_ms <= now_ms)
    }

    /// Whether a new event is to be part of that.
    pub fn is_probed_with_new(&self, now_ms: u64) -> bool {
        self.is_to_be_probed(now_ms) && self.parked.len() < PARKED_MAX
    }

    /// Whether something is to be sent again now.
    pub fn has_due(&self, now_ms: u64) -> bool {
        match self.failing {
            Some(_) => self.is_to_be_probed(now_ms),
            None => self.disabled.is_none() && self.parked.iter().any(|it| it.next_ms <= now_ms),
        }
    }

    /// When something is sent again.
    pub fn next_ms(&self) -> Option<u64> {
        let parked = || self.parked.iter().map(|it| it.next_ms).min();
        let next = self.failing.map(|it| it.next_ms).or_else(parked);
        next.filter(|_| self.disabled.is_none())
    }

    /// What is sent again now; to an endpoint that is failing the one whose turn it is.
    pub fn due(&self, now_ms: u64) -> Vec<Message> {
        if self.disabled.is_some() {
            return vec![];
        }
        if self.failing.is_some() {
            let next = self.parked.iter().min_by_key(|it| it.next_ms);
            let next = next.filter(|_| self.is_to_be_probed(now_ms));
            return next.map(|it| it.message.clone()).into_iter().collect();
        }
        let due = self.parked.iter().filter(|it| it.next_ms <= now_ms);
        due.map(|it| it.message.clone()).collect()
    }

    /// The secrets that sign now.
    pub fn signing(&self, now_ms: u64) -> impl Iterator<Item = &WebhookSecret> {
        let is_valid = move |it: &&WebhookSecret| it.until_ms.is_none_or(|until| now_ms < until);
        self.secrets.iter().filter(is_valid)
    }

    /// A new secret; those before sign beside it for a day.
    pub fn rotate(&mut self, bytes: Vec<u8>, now_ms: u64) {
        self.secrets.retain(|it| it.until_ms.is_none_or(|until| now_ms < until));
        for before in &mut self.secrets {
            before.until_ms.get_or_insert(now_ms.saturating_add(ROTATION_MS));
        }
        self.secrets.insert(0, WebhookSecret { bytes, until_ms: None });
    }

    /// It is tried again: what waited goes out, and then what came meanwhile.
    pub fn enable(&mut self, now_ms: u64) {
        self.disabled = None;
        self.parked.iter_mut().for_each(|it| it.tries = 0);
        self.is_back(now_ms);
    }

    /// It takes messages: nothing waits for its own time any more.
    pub fn is_back(&mut self, now_ms: u64) {
        self.failed_in_a_row = 0;
        self.failing = None;
        self.parked.iter_mut().for_each(|it| it.next_ms = now_ms);
    }

    /// A message that was not sent although its turn had come.
    pub fn put_off(&mut self, message: Message, now_ms: u64) {
        if !self.parked.iter().any(|it| it.message.event == message.event) {
            self.park(message, None, (0, now_ms));
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
                self.failed_in_a_row = 0;
                if self.failing.is_some() {
                    self.is_back(now_ms);
                }
            }
            Answer::Gone => {
                self.park(message, at, (0, now_ms));
                self.disabled = Some(Disabled::Gone);
            }
            Answer::NotTaken { wait_s, .. } => {
                let is_new = at.is_none();
                self.again_later(message, at, (wait_s, now_ms));
                self.fail(is_new, now_ms);
            }
        }
    }

    fn fail(&mut self, is_new: bool, now_ms: u64) {
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(u32::from(is_new));
        let (first_ms, most_ms) = PROBE_MS;
        match &mut self.failing {
            None if self.failed_in_a_row >= FAILING_AFTER => {
                self.failing = Some(Failing {
                    since_ms: now_ms,
                    next_ms: now_ms.saturating_add(first_ms),
                    wait_ms: first_ms,
                });
            }
            None => {}
            Some(failing) if now_ms.saturating_sub(failing.since_ms) >= FAILING_MAX_MS => {
                self.disabled = Some(Disabled::Failing);
            }
            Some(failing) if failing.next_ms <= now_ms => {
                failing.wait_ms = failing.wait_ms.saturating_mul(2).min(most_ms);
                failing.next_ms = now_ms.saturating_add(failing.wait_ms);
            }
            Some(_) => {}
        }
    }

    fn again_later(&mut self, message: Message, at: Option<usize>, (asked_s, now_ms): (Option<u64>, u64)) {
        let tries = at.and_then(|at| self.parked.get(at)).map_or(0, |it| it.tries) + 1;
        // Of an endpoint that takes nothing no message is given up.
        let last = WAITS_S.last().filter(|_| self.failing.is_some());
        match (WAITS_S.get(tries - 1).or(last), at) {
            (Some(wait_s), _) => {
                let wait_s = (*wait_s).max(asked_s.unwrap_or(0).min(WAIT_MAX_S));
                let wait_ms = wait_s.saturating_mul(1_000 + self.spread(&message, tries));
                self.park(message, at, (tries, now_ms.saturating_add(wait_ms)));
            }
            (None, Some(at)) => {
                self.lost.push(self.parked.remove(at).message.event);
                let more = self.lost.len().saturating_sub(LOST_MAX);
                self.lost.drain(..more);
                self.given_up = self.given_up.saturating_add(1);
            }
            (None, None) => {}
        }
    }

    /// Up to a tenth later, in thousandths, each by itself: what failed at once does not come back at once.
    fn spread(&self, message: &Message, tries: usize) -> u64 {
        // The random part of both ids.
        let of = |uuid: uuid::Uuid, at: usize| u64::from(uuid.into_bytes().get(at).copied().unwrap_or(0));
        let sum = of(message.event.0, 9) + 31 * of(self.id.0, 9) + 17 * u64::try_from(tries).unwrap_or(0);
        sum % 100
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
        let whose = (Name::parse("shop").unwrap(), Mode::Test);
        WebhookEndpoint::new(WebhookId(Uuid::nil()), whose, "https://shop.example/hooks".into(), 0)
    }

    fn message(n: u128) -> Message {
        Message {
            event: EventId(Uuid::from_u128(n << 48)),
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

    /// Nothing else comes meanwhile: it is tried ten times over three days, and given up.
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
            tries += 1;
        }
        assert_eq!((tries, it.given_up, it.disabled), (10, 1, None));
        assert_eq!(it.lost, [message(1).event]);
        assert_eq!(now_ms / 86_400_000, 3, "three days and a little");
    }

    fn failing() -> WebhookEndpoint {
        let mut it = endpoint();
        (1..=5).for_each(|n| it.hear(message(n), no(), 0));
        assert!(it.failing.is_some() && !it.goes_on());
        it
    }

    #[test]
    fn an_endpoint_that_takes_nothing_is_probed_until_it_does() {
        let mut it = failing();
        let mut probes = vec![];
        let mut now_ms = 0;
        while now_ms < 3_600_000 {
            now_ms = it.next_ms().unwrap();
            assert!(!it.has_due(now_ms - 1) && it.has_due(now_ms) && it.is_probed_with_new(now_ms));
            let due = it.due(now_ms);
            assert_eq!(due.len(), 1);
            probes.push(due[0].event);
            it.hear(due[0].clone(), no(), now_ms);
        }
        assert_eq!(it.failing.unwrap().wait_ms, 300_000, "each five minutes at last");
        assert!(
            (1..=5).all(|n| probes.contains(&message(n).event)),
            "in turn: {probes:?}"
        );
        it.hear(message(9), Answer::Taken(204), now_ms);
        assert!(it.goes_on());
        assert_eq!(it.due(now_ms).len(), 5, "the others follow at once");
    }

    /// What it never takes is not all that it is probed with.
    #[test]
    fn five_that_are_never_taken_hold_up_the_others_for_some_seconds() {
        let mut it = failing();
        let now_ms = it.next_ms().unwrap();
        let poison = it.due(now_ms).remove(0);
        it.hear(poison, no(), now_ms);
        it.hear(message(6), Answer::Taken(200), now_ms);
        assert!(it.goes_on(), "a new one was taken");
    }

    #[test]
    fn after_three_days_of_nothing_it_is_disabled_and_loses_nothing() {
        let mut it = failing();
        let mut now_ms = 0;
        while it.disabled.is_none() {
            now_ms = it.next_ms().unwrap();
            let due = it.due(now_ms).remove(0);
            it.hear(due, no(), now_ms);
        }
        assert_eq!((it.disabled, it.parked.len()), (Some(Disabled::Failing), 5));
        assert!((3 * 86_400_000..3 * 86_400_000 + 300_000).contains(&now_ms));
        assert!(it.due(u64::MAX).is_empty() && !it.has_due(u64::MAX));
        it.enable(now_ms);
        assert_eq!((it.due(now_ms).len(), it.goes_on()), (5, true));
    }

    /// It took others until now: a short trouble at the end of an old one's tries disables nothing.
    #[test]
    fn what_took_messages_today_is_not_disabled() {
        let mut it = endpoint();
        it.hear(message(1), no(), 0);
        let days_ms = 3 * 86_400_000;
        it.hear(message(2), Answer::Taken(200), days_ms);
        (3..=8).for_each(|n| it.hear(message(n), no(), days_ms + 1));
        it.hear(message(1), no(), days_ms + 2);
        assert_eq!((it.disabled, it.failing.is_some()), (None, true));
    }

    #[test]
    fn what_was_put_off_is_due_and_counts_as_no_try() {
        let mut it = endpoint();
        it.put_off(message(1), 7);
        it.put_off(message(1), 9);
        assert_eq!(
            (it.due(7), it.parked.len(), it.failed_in_a_row),
            (vec![message(1)], 1, 0)
        );
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
        it.hear(message(2), wait(u64::MAX), 0);
        let waits: Vec<u64> = it.parked.iter().map(|it| it.next_ms).collect();
        assert!((600_000..660_000).contains(&waits[0]), "{waits:?}");
        assert!((86_400_000..95_040_000).contains(&waits[1]), "{waits:?}");
    }

    #[test]
    fn two_secrets_sign_while_one_takes_over() {
        let mut it = endpoint();
        it.rotate(vec![1], 0);
        it.rotate(vec![2], 1_000);
        let signing = |it: &WebhookEndpoint, now| it.signing(now).map(|it| it.bytes.clone()).collect::<Vec<_>>();
        assert_eq!(signing(&it, 2_000), [vec![2], vec![1]]);
        assert_eq!(signing(&it, 1_000 + ROTATION_MS), [vec![2]]);
        // Twice in a day: none of those that are in use is cut off.
        it.rotate(vec![3], 3_000);
        assert_eq!(signing(&it, 4_000), [vec![3], vec![2], vec![1]]);
        it.rotate(vec![4], 3_000 + ROTATION_MS);
        assert_eq!(it.secrets.len(), 2, "what signs no more is not kept");
    }
}
