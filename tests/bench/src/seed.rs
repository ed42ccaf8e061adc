//! Fills a store with payments as the host leaves them, without a provider: for measuring what many cost. The host must
//! not run.

use anyhow::Context as _;
use clap::Parser;
use portolan::app::App;
use portolan::config::Config;
use portolan_domain::commit::{Change, Claim, ClaimName, Commit, Journaled, StoredAnswer, TimerKind, in_flight};
use portolan_domain::ids::{AttemptId, MerchantId, Mode, Name, OperationId, PaymentId};
use portolan_domain::operation::{Context, Input, Kind, Operation, Progress, Target};
use portolan_domain::payment::Payment;
use portolan_domain::payment::decide;
use portolan_domain::payment::fact::Fact;
use portolan_domain::payment::request::{PaymentRequest, validate};
use portolan_domain::ports::Ambient;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Payments on their way at once: as many as make full transactions.
const AT_ONCE: usize = 256;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    config: std::path::PathBuf,
    /// How many payments.
    #[arg(long)]
    payments: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let app = Arc::new(App::build(Config::read(&options.config)?)?);
    let merchant: MerchantId = Name::parse("shop").context("a name")?;
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = vec![];
    for _ in 0..AT_ONCE {
        let (app, next, merchant, most) = (app.clone(), next.clone(), merchant.clone(), options.payments);
        tasks.push(tokio::spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < most {
                pay(&app, &merchant).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Intent and outcome of one payment.
async fn pay(app: &App, merchant: &MerchantId) -> anyhow::Result<()> {
    let ambient = &*app.ambient;
    let request = PaymentRequest {
        amount: Some(1_000),
        currency: Some("EUR".into()),
        ..PaymentRequest::default()
    };
    let valid =
        validate(request, portolan_domain::money::Asset::currency).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let mut change = Change::new(ambient);
    let names = (
        PaymentId::new(ambient.uuid_v7()),
        ambient.uuid_v4(),
        merchant.clone(),
        Mode::Test,
    );
    let mut payment = decide::create(&mut change, names, valid)?;
    let (attempt, id) = (AttemptId(ambient.uuid_v7()), OperationId::of(payment.id, 1));
    payment.record(&mut change, Fact::MethodSet)?;
    let chosen = (Name::parse("acquirer-a").context("a name")?, "0".repeat(64));
    decide::begin_attempt(&mut payment, &mut change, attempt, id, (chosen, None))?;
    change
        .timers_set
        .push(payment.timer(TimerKind::Check, id, ambient.now_ms() + 180_000));
    let open = operation(&payment, attempt, ambient, Progress::Open);
    let concluded = operation(&payment, attempt, ambient, Progress::Concluded);
    let name = ClaimName {
        merchant: merchant.clone(),
        mode: Mode::Test,
        key: payment.id.to_string(),
    };
    let mut intent = change.into_commit(payment, 0);
    intent.claim = Some(Claim {
        name: name.clone(),
        fingerprint: vec![7; 32],
        payment: id.payment(),
        operation: Some(id),
        at_ms: ambient.now_ms(),
        answer: None,
    });
    intent.operations = vec![open];
    app.store.commit(&intent).await?;
    app.store
        .commit(&outcome(intent, attempt, (name, concluded), ambient)?)
        .await?;
    Ok(())
}

fn outcome(
    intent: Commit,
    attempt: AttemptId,
    (name, concluded): (ClaimName, Journaled),
    ambient: &dyn Ambient,
) -> anyhow::Result<Commit> {
    let (mut payment, _) = intent.payment.context("a payment")?;
    let mut change = Change::new(ambient);
    change.timers_clear.push((TimerKind::Check, concluded.0.id));
    let captured = Fact::Captured {
        attempt,
        operation: None,
        amount: payment.amount.clone(),
        is_final: true,
    };
    payment.record(&mut change, captured)?;
    if let Some(attempt) = payment.attempt_mut(attempt) {
        attempt.reference = Some(format!("ch_{}", concluded.0.id));
    }
    let mut commit = change.into_commit(payment, 1);
    commit.in_flight = in_flight(&[], &intent.operations);
    commit.operations = vec![concluded];
    commit.answer = Some((
        name,
        StoredAnswer {
            status: 200,
            body: vec![b'x'; 1_000],
        },
    ));
    Ok(commit)
}

/// About as large as a real one with its exchange.
fn operation(payment: &Payment, attempt: AttemptId, ambient: &dyn Ambient, progress: Progress) -> Journaled {
    let id = OperationId::of(payment.id, 1);
    let now_ms = ambient.now_ms();
    let context = Context {
        operation: id,
        keys: (0..8).map(|_| ambient.uuid_v4().to_string()).collect(),
        now_ms,
        entropy: [7; 32],
        settings: "x".repeat(1_500),
        secrets: vec![],
        card_number: String::new(),
        card_code: None,
        notify_url: String::new(),
        return_url: String::new(),
    };
    let target = Target {
        kind: Kind::Authorize,
        operation: id,
        keys: vec![],
        reference: None,
        parent_reference: None,
        amount: payment.amount.clone(),
        started_ms: now_ms,
        memo: None,
        sent: vec![],
        captured: None,
        captured_ms: None,
        disputed: vec![],
    };
    let operation = Operation {
        id,
        payment: payment.id,
        merchant: payment.merchant.clone(),
        mode: payment.mode,
        channel: payment
            .attempts
            .first()
            .map_or_else(|| payment.merchant.clone(), |attempt| attempt.channel.clone()),
        adapter: "0".repeat(64),
        kind: Kind::Authorize,
        attempt,
        amount: payment.amount.clone(),
        input: Input::Status(target),
        context,
        started_ms: now_ms,
        progress,
        checks: 0,
        is_restored: false,
    };
    Arc::new((operation, vec![]))
}
