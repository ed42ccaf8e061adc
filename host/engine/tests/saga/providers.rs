//! The providers: a wallet that authorizes, captures, voids and refunds, a desk that quotes and exchanges, and a bank that pays
//! on. They keep what they did, each operation once, and fail as the script says, the first time that they are asked.

use crate::world::{Clock, context};
use async_trait::async_trait;
use portolan_domain::channel::{Capability, ChannelFacts};
use portolan_domain::exchange::{Answer, Body, Effect, Reply, Request, Response};
use portolan_domain::ids::{ChannelId, Name, OperationId};
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::{
    Context, Decline, Fault as AdapterFault, Fixed, Input, Kind, Operation, Outcome, Quotation, Retry, Standing, State,
    Subject, Verdict,
};
use portolan_domain::ports::{Channels, ContextRequest, Method, Need, Notification, Receipt, Rejection, Step};
use portolan_domain::settlement::ReportLine;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// How one request goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// A certain no.
    Declined,
    /// Done, and the answer is lost.
    LostAfter,
    /// Not done, and the answer is lost.
    LostBefore,
    /// It never left.
    NotSent,
    /// Done, and a 500.
    ErrorAfter,
    /// Done, and the bank sends it back.
    Returned,
}

impl Fault {
    /// Of every leg; only what went out comes back.
    pub const OF_ALL: [Self; 6] = [
        Self::None,
        Self::Declined,
        Self::LostAfter,
        Self::LostBefore,
        Self::NotSent,
        Self::ErrorAfter,
    ];
}

/// What goes wrong: that fault, the first time that this is asked for; and whether the first price is lost before it is
/// used.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub kind: Kind,
    pub fault: Fault,
    pub is_lost: bool,
    /// Whether what is got goes on to a beneficiary.
    pub delivers: bool,
}

#[derive(Default)]
struct Record {
    authorized: i128,
    captured: i128,
    voided: bool,
    refunded: i128,
    exchanged: usize,
    paid: i128,
    returned: i128,
    /// What each operation came to: a request that comes again has no second effect.
    done: HashMap<OperationId, bool>,
}

pub struct Providers {
    script: Script,
    record: Mutex<Record>,
    asked: Mutex<HashMap<Kind, usize>>,
    quotes: AtomicUsize,
    start: Instant,
}

fn name(text: &str) -> ChannelId {
    Name::parse(text).unwrap()
}

fn decline(reason: &str) -> Outcome {
    Outcome::Declined(Decline {
        retry: Retry::Never,
        reason: reason.into(),
        provider_code: "x".into(),
        network_code: None,
        advice: None,
        message: "no".into(),
        wait_ms: None,
        blocks_card: false,
    })
}

impl Clock for Providers {
    fn now_ms(&self) -> u64 {
        1_800_000_000_000 + u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
}

impl Providers {
    pub fn new(script: Script) -> Self {
        Self {
            script,
            record: Mutex::new(Record::default()),
            asked: Mutex::new(HashMap::new()),
            quotes: AtomicUsize::new(0),
            start: Instant::now(),
        }
    }

    pub fn captured(&self) -> i128 {
        self.record.lock().unwrap().captured
    }

    pub fn refunded(&self) -> i128 {
        self.record.lock().unwrap().refunded
    }

    /// What went out and did not come back, as the beneficiary has it.
    pub fn paid(&self) -> i128 {
        let record = self.record.lock().unwrap();
        record.paid - record.returned
    }

    pub fn exchanged(&self) -> usize {
        self.record.lock().unwrap().exchanged
    }

    /// Authorized and neither captured nor voided.
    pub fn held(&self) -> i128 {
        let record = self.record.lock().unwrap();
        if record.voided {
            0
        } else {
            record.authorized - record.captured
        }
    }

    pub fn did_nothing(&self) -> bool {
        self.record.lock().unwrap().done.is_empty()
    }

    fn fault(&self, kind: Kind) -> Fault {
        let mut asked = self.asked.lock().unwrap();
        let count = asked.entry(kind).or_default();
        *count += 1;
        // The first price is the merchant's own; what fails is the one that is asked for in its place.
        let nth = if kind == Kind::Quote { 2 } else { 1 };
        if kind == self.script.kind && *count == nth {
            self.script.fault
        } else {
            Fault::None
        }
    }

    /// Does what was asked, once; whether it was taken.
    fn act(&self, operation: &Operation, refuses: bool) -> bool {
        let mut record = self.record.lock().unwrap();
        if let Some(known) = record.done.get(&operation.id) {
            return *known;
        }
        let amount = operation.amount.minor();
        let is_taken = match operation.kind {
            _ if refuses => false,
            Kind::Authorize => {
                record.authorized += amount;
                true
            }
            Kind::Capture if !record.voided && record.captured == 0 => {
                record.captured += amount;
                true
            }
            Kind::Cancel if record.captured == 0 => {
                record.voided = true;
                true
            }
            Kind::Refund if record.refunded + amount <= record.captured => {
                record.refunded += amount;
                true
            }
            // The first price, where it is lost, is refused at the counter.
            Kind::Convert if !(self.script.is_lost && reference(operation) == "q1") => {
                record.exchanged += 1;
                true
            }
            Kind::Pay => {
                record.paid += amount;
                true
            }
            _ => false,
        };
        record.done.insert(operation.id, is_taken);
        is_taken
    }

    fn found(&self, id: OperationId) -> Option<bool> {
        self.record.lock().unwrap().done.get(&id).copied()
    }

    fn quotation(&self, fixed: &Fixed) -> Quotation {
        let (Fixed::Sell(sell) | Fixed::Buy(sell)) = fixed;
        let nth = self.quotes.fetch_add(1, Ordering::SeqCst) + 1;
        Quotation {
            reference: format!("q{nth}"),
            sell: sell.clone(),
            buy: hkd(sell.minor() * 843 / 100),
            rate: "8.43".parse().unwrap(),
            mid: None,
            fee: None,
            expires_ms: self.now_ms() + 600_000,
            memo: None,
        }
    }

    /// What came of an operation that was answered, or is asked after.
    fn outcome(&self, operation: &Operation, is_taken: bool) -> Outcome {
        let reference = format!("ref-{}", operation.id);
        let amount = operation.amount.clone();
        match (&operation.input, is_taken) {
            (Input::Convert(quotation), true) => Outcome::Converted {
                reference,
                sold: quotation.sell.clone(),
                bought: quotation.buy.clone(),
                memo: None,
            },
            (Input::Convert(_), false) => Outcome::Expired,
            (Input::Pay(_), true) => sent(reference, false),
            (Input::Authorize(authorization), true) => Outcome::Accepted {
                reference,
                authorized: amount,
                captured: authorization.capture,
                network_reference: None,
                authentication: None,
                memo: None,
            },
            (_, true) => Outcome::Done {
                reference,
                amount,
                memo: None,
            },
            (_, false) => decline("refused"),
        }
    }

    fn standing(&self, operation: &Operation, target: OperationId) -> Outcome {
        match self.found(target) {
            None => Outcome::NotFound,
            Some(false) => decline("refused"),
            Some(true) => {
                let record = self.record.lock().unwrap();
                let state = match (record.voided, record.captured) {
                    (true, _) => State::Canceled,
                    (false, 0) => State::Authorized,
                    (false, _) => State::Captured,
                };
                let captured = Money::new(record.captured, operation.amount.asset().clone()).unwrap();
                Outcome::Standing(Standing {
                    reference: format!("ref-{target}"),
                    state,
                    authorized: Some(operation.amount.clone()),
                    captured: (state == State::Captured).then_some(captured),
                    refunded: None,
                    received: None,
                    declined: None,
                    disputes: vec![],
                    watch_ms: None,
                    sweep_ms: None,
                    authentication: None,
                })
            }
        }
    }

    fn status(&self, operation: &Operation, target: &portolan_domain::operation::Target) -> Outcome {
        if target.kind == Kind::Authorize {
            return self.standing(operation, target.operation);
        }
        match (self.found(target.operation), target.kind) {
            (None, _) => Outcome::NotFound,
            (Some(true), Kind::Convert) => Outcome::Converted {
                reference: "ref".into(),
                sold: target.amount.clone(),
                bought: hkd(target.amount.minor() * 843 / 100),
                memo: None,
            },
            (Some(false), Kind::Convert) => Outcome::Expired,
            (Some(true), Kind::Pay) if self.script.fault == Fault::Returned => {
                let mut record = self.record.lock().unwrap();
                record.returned = record.paid;
                Outcome::Returned {
                    reference: "ref".into(),
                    amount: target.amount.clone(),
                    reason: "AC04".into(),
                }
            }
            (Some(true), Kind::Pay) => sent("ref".into(), true),
            (Some(true), _) => Outcome::Done {
                reference: "ref".into(),
                amount: target.amount.clone(),
                memo: None,
            },
            (Some(false), _) => decline("refused"),
        }
    }
}

fn sent(reference: String, is_final: bool) -> Outcome {
    Outcome::Sent {
        reference,
        is_final,
        check_after_ms: 100,
        iso_status: None,
        fee: None,
        memo: None,
        may_replace: false,
    }
}

fn hkd(minor: i128) -> Money {
    Money::new(minor, Asset::currency("HKD").unwrap()).unwrap()
}

fn reference(operation: &Operation) -> &str {
    match &operation.input {
        Input::Convert(quotation) => &quotation.reference,
        _ => "",
    }
}

fn request(effect: Effect) -> Request {
    Request {
        endpoint: "api".into(),
        method: "POST".into(),
        path: "/".into(),
        headers: vec![],
        body: Body::Text(String::new()),
        effect,
        timeout_ms: 1_000,
        words: vec![],
    }
}

fn response(status: u16, text: &str) -> Reply {
    Reply::Response(Response {
        status,
        headers: vec![],
        body: Body::Text(text.into()),
    })
}

#[async_trait]
impl Channels for Providers {
    fn facts(&self) -> Arc<[ChannelFacts]> {
        let channel = |id: &str, methods: &[&str], kinds: &[Kind]| ChannelFacts {
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            adapter: "digest".into(),
            kinds: kinds.to_vec(),
            ..ChannelFacts::empty(name(id), portolan_domain::ids::Mode::Test)
        };
        Arc::new([
            channel(
                "wallet",
                &["wallet:simulated"],
                &[Kind::Authorize, Kind::Capture, Kind::Cancel, Kind::Refund],
            ),
            channel("desk", &[], &[Kind::Quote, Kind::Convert]),
            channel("bank", &["bank:iban"], &[Kind::Pay]),
        ])
    }

    fn version(&self, _: &ChannelId, _: Need<'_>) -> Option<String> {
        Some("digest".into())
    }

    fn concluded(&self, _: &Operation, _: &Verdict) {}

    fn authenticates(&self, _: &ChannelId, _: &str) -> bool {
        false
    }

    fn capability(&self, _: &ChannelId, _: Kind) -> Option<Capability> {
        Some(Capability {
            idempotent_for_ms: Some(86_400_000),
            found_by_key: true,
            not_found_final_after_ms: Some(0),
            partial: true,
            multiple: true,
        })
    }

    async fn context(&self, request: ContextRequest<'_>) -> Result<Context, AdapterFault> {
        Ok(context(request.operation, self.now_ms()))
    }

    fn step(&self, operation: &Operation, input: &Input, answers: &[Answer]) -> Result<Step, AdapterFault> {
        let effect = match input {
            Input::Status(_) => Effect::Read,
            Input::Quote(_) => Effect::Prepare,
            _ => Effect::Write,
        };
        let Some(answer) = answers.first() else {
            return Ok(Step::Send(request(effect)));
        };
        Ok(Step::Done(match (&answer.reply, input) {
            (Reply::NotSent(why) | Reply::Unknown(why), _) => Outcome::Unknown(why.clone().into()),
            (Reply::Response(response), _) if response.status >= 500 => Outcome::Unknown("500".to_owned().into()),
            (Reply::Response(_), Input::Status(target)) => self.status(operation, target),
            (Reply::Response(response), Input::Quote(inquiry)) if response.status == 200 => {
                Outcome::Quoted(self.quotation(&inquiry.fixed))
            }
            (Reply::Response(response), _) => self.outcome(operation, response.status == 200),
        }))
    }

    async fn send(&self, operation: &Operation, request: &Request, _: Option<&Method>) -> Result<Answer, AdapterFault> {
        if request.effect == Effect::Read {
            let reply = response(200, "");
            return Ok(Answer {
                at_ms: self.now_ms(),
                reply,
            });
        }
        let fault = self.fault(operation.kind);
        let moves = request.effect == Effect::Write;
        let taken = match fault {
            Fault::NotSent | Fault::LostBefore => false,
            Fault::Declined => moves && self.act(operation, true),
            Fault::None | Fault::LostAfter | Fault::ErrorAfter | Fault::Returned => {
                !moves || self.act(operation, false)
            }
        };
        let reply = match fault {
            Fault::NotSent => Reply::NotSent("refused".into()),
            Fault::LostBefore | Fault::LostAfter => Reply::Unknown("no answer in time".into()),
            Fault::ErrorAfter => response(500, ""),
            Fault::None | Fault::Declined | Fault::Returned => response(if taken { 200 } else { 402 }, ""),
        };
        Ok(Answer {
            at_ms: self.now_ms(),
            reply,
        })
    }

    fn forget_session(&self, _: &ChannelId, _: &str) {}

    fn parse_report(
        &self,
        _: &ChannelId,
        _: &[u8],
        _: &[u8],
        _: bool,
    ) -> Result<(Vec<ReportLine>, Vec<u8>), AdapterFault> {
        Ok((vec![], vec![]))
    }

    /// The body is the reference, the path names the event.
    fn receive(&self, _: &ChannelId, notification: &Notification) -> Result<Receipt, Rejection> {
        let subject = Subject {
            key: None,
            reference: Some(String::from_utf8_lossy(&notification.body).into_owned()),
            event: notification.path.clone(),
        };
        Ok(Receipt {
            subjects: vec![subject],
            status: 200,
            body: vec![],
        })
    }
}
