//! Three acquirers, each with one way to answer, or with another one for each payment. They keep what they really took, each
//! operation once, and say it when asked.

use crate::world::{Clock, context};
use async_trait::async_trait;
use portolan_domain::channel::{Capability, ChannelFacts};
use portolan_domain::exchange::{Answer, Body, Effect, Reply, Request, Response};
use portolan_domain::ids::{ChannelId, Mode, Name, OperationId, PaymentId};
use portolan_domain::operation::{
    Context, Decline, Fault, Input, Kind, Operation, Outcome, Retry, Standing, State, Subject, Target, Verdict,
};
use portolan_domain::ports::{Channels, ContextRequest, Method, Need, Notification, Receipt, Rejection, Step};
use portolan_domain::settlement::ReportLine;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// How an acquirer answers an authorization.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Approves,
    /// Another channel may be tried.
    Soft,
    /// Not now.
    Later,
    /// Never again.
    Never,
    /// It was not reached.
    NotSent,
    /// Taken, and the answer is lost.
    LostAfter,
    /// Not taken, and the answer is lost; a copy is taken.
    LostBefore,
    /// Declined so that another channel may be tried, and the answer is lost.
    LostSoft,
    /// Declined until the payer is authenticated.
    Wants,
    /// The same, and the answer to the second try is lost.
    WantsAndLost,
    /// Declined until the payer is authenticated, and after it.
    WantsAlways,
    /// Declined until the payer is authenticated; after it so that another channel may be tried.
    WantsThenSoft,
    /// The answer is lost, it is not found, and it is taken long after that.
    Late,
}

impl Way {
    pub const ALL: [Self; 13] = [
        Self::Approves,
        Self::Soft,
        Self::Later,
        Self::Never,
        Self::NotSent,
        Self::LostAfter,
        Self::LostBefore,
        Self::LostSoft,
        Self::Wants,
        Self::WantsAndLost,
        Self::WantsAlways,
        Self::WantsThenSoft,
        Self::Late,
    ];

    fn decline(self) -> Option<Retry> {
        match self {
            Self::Soft | Self::LostSoft => Some(Retry::OtherChannel),
            Self::Later => Some(Retry::Later),
            Self::Never => Some(Retry::Never),
            Self::Wants | Self::WantsAndLost | Self::WantsAlways | Self::WantsThenSoft => {
                Some(Retry::AfterAuthentication)
            }
            Self::Approves | Self::NotSent | Self::LostAfter | Self::LostBefore | Self::Late => None,
        }
    }
}

/// Who answers how.
#[derive(Clone, Copy, Debug)]
pub enum Ways {
    /// Each acquirer in its way.
    Fixed([Way; 3]),
    /// Any way but the last, drawn from this, the acquirer and the payment.
    Drawn(u64),
}

#[derive(Default)]
struct Record {
    /// What each operation came to: taken, or declined.
    done: HashMap<(ChannelId, OperationId), bool>,
    /// Requests that came, by channel and payment.
    asked: HashMap<(ChannelId, PaymentId), usize>,
    /// Operations whose request is still on its way somewhere.
    on_its_way: Vec<(ChannelId, OperationId)>,
}

pub struct Acquirers {
    /// Whether they number their payouts themselves.
    has_lane: bool,
    /// Who can be told to authenticate a payer.
    authenticates: &'static [&'static str],
    ways: Ways,
    record: Mutex<Record>,
    start: Instant,
}

fn name(text: &str) -> ChannelId {
    Name::parse(text).unwrap()
}

impl Clock for Acquirers {
    fn now_ms(&self) -> u64 {
        1_800_000_000_000 + u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
}

impl Acquirers {
    pub fn new(ways: Ways) -> Self {
        Self {
            has_lane: false,
            authenticates: &NAMES,
            ways,
            record: Mutex::new(Record::default()),
            start: Instant::now(),
        }
    }

    pub fn way(&self, channel: &ChannelId, payment: PaymentId) -> Way {
        let at = NAMES.iter().position(|it| *it == channel.as_str()).unwrap();
        match self.ways {
            Ways::Fixed(ways) => ways[at],
            Ways::Drawn(seed) => {
                let mut hasher = DefaultHasher::new();
                (seed, at, payment).hash(&mut hasher);
                let known = Way::ALL.len() as u64 - 1;
                Way::ALL[usize::try_from(hasher.finish() % known).unwrap()]
            }
        }
    }

    /// How often money was really taken.
    pub fn taken(&self) -> usize {
        self.record
            .lock()
            .unwrap()
            .done
            .values()
            .filter(|taken| **taken)
            .count()
    }

    /// How often money was really taken for that payment.
    pub fn taken_for(&self, payment: PaymentId) -> usize {
        let record = self.record.lock().unwrap();
        let of_it = record
            .done
            .iter()
            .filter(|((_, operation), _)| operation.payment() == payment);
        of_it.filter(|(_, taken)| **taken).count()
    }

    /// Requests that reached a channel.
    pub fn asked(&self, channel: &str) -> usize {
        let record = self.record.lock().unwrap();
        let of_it = record.asked.iter().filter(|((id, _), _)| id.as_str() == channel);
        of_it.map(|(_, count)| count).sum()
    }

    /// What was on its way arrives after all.
    pub fn arrive(&self) -> Vec<(ChannelId, OperationId)> {
        let mut record = self.record.lock().unwrap();
        let late = std::mem::take(&mut record.on_its_way);
        for place in &late {
            record.done.entry(place.clone()).or_insert(true);
        }
        late
    }

    /// The same, numbering their payouts themselves or not.
    pub fn with_lane(self, has_lane: bool) -> Self {
        Self { has_lane, ..self }
    }

    /// The same, with payers authenticated on demand by these.
    pub fn with_authentication(self, authenticates: &'static [&'static str]) -> Self {
        Self { authenticates, ..self }
    }

    fn may_be_late(&self, channel: &ChannelId) -> bool {
        let at = NAMES.iter().position(|it| *it == channel.as_str());
        matches!((self.ways, at), (Ways::Fixed(ways), Some(at)) if ways[at] == Way::Late)
    }

    fn found(&self, channel: &ChannelId, operation: OperationId) -> Option<bool> {
        self.record
            .lock()
            .unwrap()
            .done
            .get(&(channel.clone(), operation))
            .copied()
    }

    /// Acts on a request, once for each operation.
    fn act(&self, operation: &Operation) -> Reply {
        let way = self.way(&operation.channel, operation.payment);
        let place = (operation.channel.clone(), operation.id);
        let mut record = self.record.lock().unwrap();
        if way == Way::NotSent {
            return Reply::NotSent("refused".into());
        }
        let count = record
            .asked
            .entry((operation.channel.clone(), operation.payment))
            .or_default();
        *count += 1;
        let count = *count;
        let is_first = count == 1;
        let lost = Reply::Unknown("no answer in time".into());
        match way {
            Way::LostBefore if is_first => return lost,
            Way::Late => {
                record.on_its_way.push(place);
                return lost;
            }
            _ => {}
        }
        let is_enough = matches!(way, Way::Wants | Way::WantsAndLost) && operation.must_authenticate();
        let takes = way.decline().is_none() || is_enough;
        let is_taken = *record.done.entry(place).or_insert(takes);
        match way {
            Way::WantsAndLost if count == 2 => lost,
            Way::LostAfter | Way::LostSoft if is_first => lost,
            _ => response(if is_taken { 200 } else { 402 }),
        }
    }

    fn retry(&self, channel: &ChannelId, payment: PaymentId) -> Retry {
        let asked = self
            .record
            .lock()
            .unwrap()
            .asked
            .get(&(channel.clone(), payment))
            .copied();
        match self.way(channel, payment) {
            Way::WantsThenSoft if asked >= Some(2) => Retry::OtherChannel,
            way => way.decline().unwrap_or(Retry::Never),
        }
    }

    fn declined(&self, channel: &ChannelId, payment: PaymentId) -> Outcome {
        Outcome::Declined(Decline {
            retry: self.retry(channel, payment),
            reason: if self.way(channel, payment) == Way::Never {
                "stolen-card".into()
            } else {
                "refused".into()
            },
            provider_code: "x".into(),
            network_code: None,
            advice: None,
            message: "no".into(),
            wait_ms: None,
            blocks_card: false,
        })
    }

    fn status(&self, operation: &Operation, target: &Target) -> Outcome {
        match self.found(&operation.channel, target.operation) {
            None => Outcome::NotFound,
            Some(false) => self.declined(&operation.channel, operation.payment),
            Some(true) => Outcome::Standing(Standing {
                reference: format!("ref-{}", target.operation),
                state: State::Captured,
                authorized: Some(operation.amount.clone()),
                captured: Some(operation.amount.clone()),
                refunded: None,
                received: None,
                declined: None,
                disputes: vec![],
                watch_ms: None,
                sweep_ms: None,
                authentication: None,
            }),
        }
    }
}

fn response(status: u16) -> Reply {
    Reply::Response(Response {
        status,
        headers: vec![],
        body: Body::Text(String::new()),
    })
}

#[async_trait]
impl Channels for Acquirers {
    fn facts(&self) -> Arc<[ChannelFacts]> {
        let channel = |id: &str| ChannelFacts {
            methods: vec!["card".into(), "bank:iban".into()],
            adapter: "digest".into(),
            kinds: vec![Kind::Authorize, Kind::Pay],
            has_lane: self.has_lane,
            authenticates: self.authenticates.contains(&id),
            ..ChannelFacts::empty(name(id), Mode::Live)
        };
        NAMES.map(channel).into()
    }

    fn version(&self, _: &ChannelId, _: Need<'_>) -> Option<String> {
        Some("digest".into())
    }

    fn concluded(&self, _: &Operation, _: &Verdict) {}

    fn authenticates(&self, channel: &ChannelId, _: &str) -> bool {
        self.authenticates.contains(&channel.as_str())
    }

    /// Where a copy may not be sent, "not found" ends it.
    fn capability(&self, channel: &ChannelId, _: Kind) -> Option<Capability> {
        Some(Capability {
            idempotent_for_ms: (!self.may_be_late(channel)).then_some(86_400_000),
            found_by_key: true,
            not_found_final_after_ms: Some(0),
            partial: true,
            multiple: true,
        })
    }

    async fn context(&self, request: ContextRequest<'_>) -> Result<Context, Fault> {
        Ok(context(request.operation, self.now_ms()))
    }

    fn step(&self, operation: &Operation, input: &Input, answers: &[Answer]) -> Result<Step, Fault> {
        let effect = match input {
            Input::Status(_) => Effect::Read,
            _ => Effect::Write,
        };
        let Some(answer) = answers.first() else {
            return Ok(Step::Send(Request {
                endpoint: "api".into(),
                method: "POST".into(),
                path: "/".into(),
                headers: vec![],
                body: Body::Text(String::new()),
                effect,
                timeout_ms: 1_000,
                words: vec![],
            }));
        };
        Ok(Step::Done(match (&answer.reply, input) {
            (Reply::NotSent(why) | Reply::Unknown(why), _) => Outcome::Unknown(why.clone().into()),
            (Reply::Response(_), Input::Status(target)) => self.status(operation, target),
            (Reply::Response(response), Input::Pay(_)) if response.status == 200 => Outcome::Sent {
                reference: format!("ref-{}", operation.id),
                is_final: true,
                check_after_ms: 0,
                iso_status: None,
                fee: None,
                memo: None,
                may_replace: false,
            },
            (Reply::Response(response), _) if response.status == 200 => Outcome::Accepted {
                reference: format!("ref-{}", operation.id),
                authorized: operation.amount.clone(),
                captured: true,
                network_reference: None,
                authentication: None,
                memo: None,
            },
            (Reply::Response(_), _) => self.declined(&operation.channel, operation.payment),
        }))
    }

    async fn send(&self, operation: &Operation, request: &Request, _: Option<&Method>) -> Result<Answer, Fault> {
        let reply = match request.effect {
            Effect::Read | Effect::Prepare => response(200),
            Effect::Write => self.act(operation),
        };
        Ok(Answer {
            at_ms: self.now_ms(),
            reply,
        })
    }

    fn forget_session(&self, _: &ChannelId, _: &str) {}

    fn parse_report(&self, _: &ChannelId, _: &[u8], _: &[u8], _: bool) -> Result<(Vec<ReportLine>, Vec<u8>), Fault> {
        Ok((vec![], vec![]))
    }

    /// The body is the operation's key, the path names the event.
    fn receive(&self, _: &ChannelId, notification: &Notification) -> Result<Receipt, Rejection> {
        let subject = Subject {
            key: Some(String::from_utf8_lossy(&notification.body).into_owned()),
            reference: None,
            event: notification.path.clone(),
        };
        Ok(Receipt {
            subjects: vec![subject],
            status: 200,
            body: vec![],
        })
    }
}
