//! A payout that waits for too low a price, on a chain that numbers its payouts itself: what takes its place, which version of
//! the adapter makes it, and that nothing which left is forgotten.

use crate::world::{Clock, CrashStore, context, engine};
use crate::{pay_out, payments, simulate};
use async_trait::async_trait;
use portolan_domain::channel::{Capability, ChannelFacts};
use portolan_domain::exchange::{Answer, Body, Effect, Reply, Request, Response};
use portolan_domain::ids::{ChannelId, Mode, Name, OperationId};
use portolan_domain::operation::{Context, Decline, Fault, Input, Kind, Operation, Outcome, Retry, Verdict};
use portolan_domain::payment::status::PaymentStatus;
use portolan_domain::ports::{
    Channels, ContextRequest, Library, Method, Need, Notification, Receipt, Rejection, Step, Store,
};
use portolan_domain::settlement::ReportLine;
use portolan_domain::task::Task;
use portolan_engine::Engine;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// A chain with one node.
struct Chain {
    has_lane: bool,
    /// Whether the second version of the adapter is active.
    upgraded: AtomicBool,
    /// Whether fees are above what the last transaction pays.
    is_dear: AtomicBool,
    /// What left, and in which version it was made.
    left: Mutex<Vec<(String, String)>>,
    /// What is in a block.
    mined: Mutex<Option<String>>,
    start: Instant,
}

impl Chain {
    fn new(has_lane: bool) -> Self {
        Self {
            has_lane,
            upgraded: AtomicBool::new(false),
            is_dear: AtomicBool::new(false),
            left: Mutex::new(vec![]),
            mined: Mutex::new(None),
            start: Instant::now(),
        }
    }

    fn left(&self) -> Vec<(String, String)> {
        self.left.lock().unwrap().clone()
    }

    /// The last one that left is mined, and fees fall.
    fn mine(&self) {
        *self.mined.lock().unwrap() = self.left().pop().map(|(body, _)| body);
        self.is_dear.store(false, Ordering::SeqCst);
    }

    fn digest(&self) -> &'static str {
        if self.upgraded.load(Ordering::SeqCst) {
            "second"
        } else {
            "first"
        }
    }
}

impl Clock for Chain {
    fn now_ms(&self) -> u64 {
        1_800_000_000_000 + u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
}

fn request(body: String, effect: Effect) -> Step {
    Step::Send(Request {
        endpoint: "node".into(),
        method: "POST".into(),
        path: "/".into(),
        headers: vec![],
        body: Body::Text(body),
        effect,
        timeout_ms: 1_000,
        words: vec![],
    })
}

fn sent(is_final: bool, may_replace: bool) -> Outcome {
    Outcome::Sent {
        reference: "hash".into(),
        is_final,
        check_after_ms: 0,
        iso_status: None,
        fee: None,
        memo: None,
        may_replace,
    }
}

#[async_trait]
impl Channels for Chain {
    fn facts(&self) -> Arc<[ChannelFacts]> {
        let facts = ChannelFacts {
            methods: vec!["bank:iban".into()],
            adapter: self.digest().into(),
            kinds: vec![Kind::Pay],
            has_lane: self.has_lane,
            ..ChannelFacts::empty(Name::parse("a").unwrap(), Mode::Live)
        };
        [facts].into()
    }

    fn version(&self, _: &ChannelId, _: Need<'_>) -> Option<String> {
        Some(self.digest().into())
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
            partial: false,
            multiple: false,
        })
    }

    async fn context(&self, request: ContextRequest<'_>) -> Result<Context, Fault> {
        Ok(context(request.operation, self.now_ms()))
    }

    fn step(&self, operation: &Operation, input: &Input, answers: &[Answer]) -> Result<Step, Fault> {
        match input {
            // The first version knows of no replacement: it would pay a second time, under the next number.
            Input::Pay(order) if answers.is_empty() => {
                let body = match operation.adapter.as_str() {
                    "first" => format!("number {}", self.left().len()),
                    _ => format!("number 0, price {}", order.replaces.len()),
                };
                Ok(request(body, Effect::Write))
            }
            Input::Pay(_) => Ok(Step::Done(sent(false, false))),
            Input::Status(_) if answers.is_empty() => Ok(request("what of it".into(), Effect::Read)),
            Input::Status(target) => Ok(Step::Done(match self.mined.lock().unwrap().as_ref() {
                Some(mined) if target.sent.contains(mined) => sent(true, false),
                // What it was not told of took its number.
                Some(_) => Outcome::Declined(Decline {
                    retry: Retry::Later,
                    reason: "number-taken".into(),
                    provider_code: String::new(),
                    network_code: None,
                    advice: None,
                    message: String::new(),
                    wait_ms: None,
                    blocks_card: false,
                }),
                None => sent(false, self.is_dear.load(Ordering::SeqCst)),
            })),
            _ => panic!("a chain is asked for {input:?}"),
        }
    }

    async fn send(&self, operation: &Operation, request: &Request, _: Option<&Method>) -> Result<Answer, Fault> {
        if request.effect == Effect::Write {
            let body = String::from_utf8(request.body.as_bytes().to_vec()).unwrap();
            self.left.lock().unwrap().push((body, operation.adapter.clone()));
        } else {
            // Others ask meanwhile.
            tokio::task::yield_now().await;
        }
        Ok(Answer {
            at_ms: self.now_ms(),
            reply: Reply::Response(Response {
                status: 200,
                headers: vec![],
                body: Body::Text(String::new()),
            }),
        })
    }

    fn forget_session(&self, _: &ChannelId, _: &str) {}

    fn parse_report(&self, _: &ChannelId, _: &[u8], _: &[u8], _: bool) -> Result<(Vec<ReportLine>, Vec<u8>), Fault> {
        Ok((vec![], vec![]))
    }

    fn receive(&self, _: &ChannelId, _: &Notification) -> Result<Receipt, Rejection> {
        Err(Rejection("unsupported", String::new()))
    }
}

struct World {
    chain: Arc<Chain>,
    store: Arc<CrashStore>,
    router: Engine,
    operation: OperationId,
}

impl World {
    /// A payout on its way, and fees that rise over it.
    async fn new(has_lane: bool) -> Self {
        let (chain, store) = (Arc::new(Chain::new(has_lane)), Arc::new(CrashStore::new(0)));
        let router = engine(store.clone(), chain.clone());
        chain.upgraded.store(true, Ordering::SeqCst);
        pay_out(&router, &store).await;
        chain.is_dear.store(true, Ordering::SeqCst);
        let operation = payments(&store)[0].attempts[0].operation;
        Self {
            chain,
            store,
            router,
            operation,
        }
    }

    fn status(&self) -> PaymentStatus {
        payments(&self.store)[0].status
    }

    fn for_humans(&self) -> Vec<Task> {
        let tasks = self.store.inner.tasks(false).unwrap();
        tasks.into_iter().filter(|it| it.for_human).collect()
    }
}

#[test]
fn the_version_that_promises_makes_what_takes_the_place() {
    simulate(async {
        let world = World::new(true).await;
        world.chain.left.lock().unwrap().clear();
        // It began in a version that drains now.
        let found = world.store.operation(world.operation).unwrap().unwrap();
        let begun = Operation {
            adapter: "first".into(),
            ..found.0.clone()
        };
        let base = payments(&world.store).remove(0);
        let commit = portolan_domain::commit::Commit {
            operations: vec![Arc::new((begun, found.1.clone()))],
            ..Default::default()
        };
        world.store.inner.commit(&commit).await.unwrap();
        world.router.check(world.operation).await.unwrap();
        let left = world.chain.left();
        assert_eq!(
            left,
            [("number 0, price 1".to_owned(), "second".to_owned())],
            "{base:#?}"
        );
        let kept = world.store.operation(world.operation).unwrap().unwrap();
        assert_eq!(kept.0.adapter, "first", "it is the operation that it was");
    });
}

#[test]
fn two_who_ask_at_once_forget_nothing_that_left() {
    simulate(async {
        let world = World::new(true).await;
        let (one, other) = (world.router.check(world.operation), world.router.check(world.operation));
        let (one, other) = tokio::join!(one, other);
        one.and(other).unwrap();
        let kept = world.store.operation(world.operation).unwrap().unwrap();
        let kept = kept.1.iter().filter(|it| it.request.effect == Effect::Write);
        assert_eq!(kept.count(), world.chain.left().len(), "what left is on disk");
        world.chain.mine();
        world.router.check(world.operation).await.unwrap();
        assert_eq!(world.status(), PaymentStatus::Succeeded);
    });
}

#[test]
fn prices_are_raised_a_few_times_and_then_a_human_is_asked() {
    simulate(async {
        let world = World::new(true).await;
        for _ in 0..20 {
            world.router.check(world.operation).await.unwrap();
        }
        assert_eq!(world.chain.left().len(), 12, "{:?}", world.chain.left());
        assert_eq!(world.for_humans().len(), 1);
        assert_eq!(world.status(), PaymentStatus::Processing);
        world.chain.mine();
        world.router.check(world.operation).await.unwrap();
        assert_eq!(
            (world.status(), world.for_humans().len()),
            (PaymentStatus::Succeeded, 0)
        );
    });
}

#[test]
fn where_payouts_have_no_number_nothing_takes_their_place() {
    simulate(async {
        let world = World::new(false).await;
        for _ in 0..5 {
            world.router.check(world.operation).await.unwrap();
        }
        assert_eq!(world.chain.left().len(), 1);
    });
}
