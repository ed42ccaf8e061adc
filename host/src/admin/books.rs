//! Proofs and counts: the ledger against its invariants, the log against its chain, and the metrics page.

use super::{Refusal, failed, refuse};
use crate::server::Shared;
use crate::wire::status_of;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use portolan_channels::Usage;
use portolan_domain::commit::{TimerKind, Versioned};
use portolan_domain::ids::{Mode, OperationId, PaymentId, WebhookId};
use portolan_domain::ledger::{Balances, Entry, Layer};
use portolan_domain::lifecycle::{self, Version};
use portolan_domain::payment::Payment;
use portolan_domain::payment::status::{AttemptStatus, PaymentStatus};
use portolan_domain::ports::BookPart;
use portolan_domain::routing::health::Standing;
use portolan_engine::ChannelHealth;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Acts in one answer.
const ACTS_SHOWN: usize = 1_000;

type App = State<Arc<Shared>>;

/// An entry for people.
pub fn entry_json(entry: &Entry) -> Value {
    let line = |line: &portolan_domain::ledger::Line| {
        json!({
            "account": line.account.to_string(), "side": format!("{:?}", line.side).to_lowercase(),
            "layer": format!("{:?}", line.layer).to_lowercase(), "amount": line.amount.to_string(),
        })
    };
    json!({ "number": entry.number, "resolves": entry.resolves, "lines": entry.lines.iter().map(line).collect::<Vec<_>>() })
}

/// `GET /admin/ledger/check`: every invariant of the books, over everything.
pub async fn check(State(shared): App) -> Result<Json<Value>, Refusal> {
    let checked = tokio::task::spawn_blocking(move || check_books(&shared))
        .await
        .map_err(failed)?;
    Ok(Json(checked.map_err(failed)?))
}

/// The proof so far.
#[derive(Default)]
struct Proof {
    problems: Vec<String>,
    sums: BTreeMap<Mode, Balances>,
    /// Pending entries that nothing has resolved.
    open: HashSet<(PaymentId, u32)>,
    /// The payments that these are of, once all entries were seen.
    holding: HashSet<PaymentId>,
    entries: u64,
    payments: u64,
}

impl Proof {
    fn take(&mut self, part: BookPart) {
        match part {
            BookPart::Entry(entry) => self.entry(&entry),
            BookPart::Balances(mode, kept) => {
                self.holding = self.open.iter().map(|(payment, _)| *payment).collect();
                if self.sums.get(&mode).is_some_and(|sum| *sum != kept)
                    || !self.sums.contains_key(&mode) && !kept.is_empty()
                {
                    let mode = mode.as_str();
                    self.problems
                        .push(format!("{mode}: the kept balances differ from the sum of the entries"));
                }
            }
            BookPart::Payment(found) => {
                self.payments = self.payments.saturating_add(1);
                check_payment(&found.payment, &self.holding, &mut self.problems);
                check_in_flight(&found, &mut self.problems);
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.entries = self.entries.saturating_add(1);
        if let Err(error) = entry.add_to(self.sums.entry(entry.mode).or_default()) {
            self.problems.push(error.to_string());
        }
        if entry.lines.iter().any(|line| line.layer == Layer::Pending) {
            self.open.insert((entry.payment, entry.number));
        }
        let unknown = entry
            .resolves
            .filter(|resolved| !self.open.remove(&(entry.payment, *resolved)));
        if let Some(resolved) = unknown {
            self.problems.push(format!(
                "{}: pending entry {resolved} was resolved twice, or never made",
                entry.payment
            ));
        }
    }
}

fn check_books(shared: &Shared) -> Result<Value, portolan_domain::ports::ReadError> {
    let mut proof = Proof::default();
    shared.app.library.books(&mut |part| proof.take(part))?;
    let Proof {
        problems,
        sums,
        entries,
        payments,
        ..
    } = proof;
    let balances = sums
        .iter()
        .flat_map(|(mode, sum)| sum.iter().map(move |row| (mode, row)));
    let rows = balances.map(|(mode, ((account, asset), balance))| {
        json!({
            "mode": mode.as_str(), "account": account.to_string(), "asset": asset.code(), "debit": balance.debit.to_string(),
            "credit": balance.credit.to_string(), "pending_debit": balance.pending_debit.to_string(),
            "pending_credit": balance.pending_credit.to_string(),
        })
    });
    let rows = rows.collect::<Vec<_>>();
    Ok(json!({
        "balanced": problems.is_empty(), "entries": entries, "payments": payments, "problems": problems, "balances": rows,
    }))
}

/// Whoever is in flight is looked after: a timer brings it back.
fn check_in_flight(found: &Versioned, problems: &mut Vec<String>) {
    let has_timer = |id: OperationId| {
        let mut timers = found.payment.timers.iter();
        timers.any(|timer| timer.kind == TimerKind::Check && timer.operation == id)
    };
    let forgotten = found.in_flight.iter().filter(|operation| !has_timer(operation.0.id));
    problems.extend(forgotten.map(|operation| format!("{}: in flight, and no timer looks after it", operation.0.id)));
}

/// What must hold for one payment.
fn check_payment(payment: &Payment, open: &HashSet<PaymentId>, problems: &mut Vec<String>) {
    let mut require = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{}: {what}", payment.id));
        }
    };
    require(
        payment.captured.fits_in(&payment.authorized) || payment.captured.is_zero(),
        "captured more than authorized",
    );
    require(
        payment.refunded.fits_in(&payment.captured),
        "refunded more than captured",
    );
    let succeeded = payment
        .attempts
        .iter()
        .filter(|it| it.status == AttemptStatus::Captured)
        .count();
    require(succeeded <= 1, "two attempts took money");
    let has_open = open.contains(&payment.id);
    let holds = payment.attempts.iter().filter_map(|it| it.hold.as_ref()).count()
        + payment.follow_ups.iter().filter_map(|it| it.hold.as_ref()).count();
    require(
        has_open == (holds > 0),
        "the books hold something that the payment does not, or the other way round",
    );
    let ended = matches!(payment.status, PaymentStatus::Failed | PaymentStatus::Canceled);
    require(!(ended && has_open), "it ended with a pending entry");
}

/// `GET /admin/audit/verify`: the hash chain over all events.
pub async fn verify(State(shared): App) -> Result<Json<Value>, Refusal> {
    let verified = tokio::task::spawn_blocking(move || shared.app.library.verify_chain())
        .await
        .map_err(failed)?;
    Ok(Json(match verified {
        Ok((events, head)) => json!({ "intact": true, "events": events, "head": head }),
        Err(error) => json!({ "intact": false, "problem": error.to_string() }),
    }))
}

/// `GET /admin/audit/acts`: what operators did, the newest first.
pub async fn acts(State(shared): App) -> Result<Json<Value>, Refusal> {
    let acts = shared.app.library.acts(ACTS_SHOWN).map_err(failed)?;
    Ok(Json(json!({ "acts": acts })))
}

/// `GET /admin/webhooks`: where merchants are told of events, and how far that is.
pub async fn webhooks(State(shared): App) -> Json<Value> {
    let now_ms = shared.app.ambient.now_ms();
    let all = shared.app.webhooks.all();
    let shown = all.iter().map(|it| {
        json!({
            "id": it.id.to_string(), "merchant": it.merchant.as_str(), "mode": it.mode.as_str(), "url": it.url,
            "public_key": shared.app.webhooks.public_key(it.id),
            "status": status_of(it), "waiting": it.parked.len(), "delivered": it.delivered, "given_up": it.given_up,
            "next_in_s": it.next_ms().map(|at| at.saturating_sub(now_ms).div_ceil(1_000)),
            "last": it.last.as_ref().map(|last| json!({ "at_ms": last.at_ms, "status": last.status, "error": last.why })),
        })
    });
    Json(json!({ "endpoints": shown.collect::<Vec<_>>() }))
}

/// `POST /admin/webhooks/{id}/remove`: an operator's word, whoever made it.
pub async fn remove_webhook(
    State(shared): App,
    Path(id): Path<String>,
    Json(word): Json<super::Word>,
) -> Result<Json<Value>, Refusal> {
    let not_found = || refuse(StatusCode::NOT_FOUND, format!("there is no webhook endpoint {id}"));
    let endpoint: WebhookId = id.parse().map_err(|_| not_found())?;
    word.check()?;
    if !shared.app.webhooks.all().iter().any(|it| it.id == endpoint) {
        return Err(not_found());
    }
    super::note(&shared.app, &word.by, ("webhook.remove", &id), &word.reason).await?;
    shared.app.webhooks.remove(endpoint).await.map_err(failed)?;
    Ok(Json(json!({ "removed": id })))
}

/// `GET /metrics`, in Prometheus' text format.
pub async fn metrics(State(shared): App) -> Result<String, Refusal> {
    let counters = &shared.counters;
    let tasks = shared.app.library.tasks(false).map_err(failed)?;
    let open = shared.app.store.open_operations().map_err(failed)?;
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, rows: &[(&str, u64)]| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let [ok, refused, broken] = &counters.answered;
    let rows = [
        ("{class=\"2xx\"}", ok.load(Ordering::Relaxed)),
        ("{class=\"4xx\"}", refused.load(Ordering::Relaxed)),
        ("{class=\"5xx\"}", broken.load(Ordering::Relaxed)),
    ];
    metric(
        "portolan_requests_total",
        "counter",
        "Merchant requests by class of status.",
        &rows,
    );
    metric(
        "portolan_requests_in_flight",
        "gauge",
        "Merchant requests now.",
        &[("", counters.in_flight.load(Ordering::Relaxed))],
    );
    metric(
        "portolan_requests_shed_total",
        "counter",
        "Requests refused for load.",
        &[("", counters.shed.load(Ordering::Relaxed))],
    );
    let [taken, rejected] = &counters.notifications;
    let rows = [
        ("{result=\"taken\"}", taken.load(Ordering::Relaxed)),
        ("{result=\"refused\"}", rejected.load(Ordering::Relaxed)),
    ];
    metric(
        "portolan_notifications_total",
        "counter",
        "Provider notifications.",
        &rows,
    );
    let operations = u64::try_from(open.len()).unwrap_or(u64::MAX);
    metric(
        "portolan_operations_open",
        "gauge",
        "Operations without an outcome.",
        &[("", operations)],
    );
    let human = tasks.iter().filter(|task| task.for_human).count();
    let rows = [
        ("{owner=\"operator\"}", u64::try_from(human).unwrap_or(u64::MAX)),
        (
            "{owner=\"router\"}",
            u64::try_from(tasks.len().saturating_sub(human)).unwrap_or(u64::MAX),
        ),
    ];
    metric("portolan_tasks_open", "gauge", "Open tasks by owner.", &rows);
    let flagged = shared.app.engine.flagged();
    let labelled = flagged.map(|(effect, count)| (format!("{{effect=\"{}\"}}", effect.as_str()), count));
    let rows = labelled.each_ref().map(|(labels, count)| (labels.as_str(), *count));
    metric(
        "portolan_flags_total",
        "counter",
        "Payments and payouts that merchants' rules refused, had authenticated, or warned of.",
        &rows,
    );
    metric(
        "portolan_rule_sets_unread_total",
        "counter",
        "Merchants' rules that this version cannot read: what they refuse is let through.",
        &[("", shared.app.routes.unread())],
    );
    let [taken, not_taken] = &shared.app.webhooks.told;
    let rows = [
        ("{result=\"taken\"}", taken.load(Ordering::Relaxed)),
        ("{result=\"not_taken\"}", not_taken.load(Ordering::Relaxed)),
    ];
    metric(
        "portolan_webhook_messages_total",
        "counter",
        "Messages to merchants.",
        &rows,
    );
    let endpoints = shared.app.webhooks.all();
    let count = |status: &str| {
        let of = endpoints.iter().filter(|it| status_of(it) == status);
        u64::try_from(of.count()).unwrap_or(u64::MAX)
    };
    let rows = [
        ("{status=\"enabled\"}", count("enabled")),
        ("{status=\"failing\"}", count("failing")),
        ("{status=\"disabled\"}", count("disabled")),
    ];
    metric(
        "portolan_webhook_endpoints",
        "gauge",
        "Merchants' endpoints by how they are.",
        &rows,
    );
    versions(&shared.app.plugins.usage(), &mut text);
    channels(&shared.app.engine.health(), &mut text);
    Ok(text)
}

/// How each channel is, by channel and operation.
fn channels(all: &[ChannelHealth], text: &mut String) {
    type Count = fn(&ChannelHealth) -> u64;
    let metrics: [(&str, &str, Count); 4] = [
        ("well", "Whether it takes payments (1), or is left out (0).", |it| {
            u64::from(it.standing == Standing::Well)
        }),
        (
            "failing_ppm",
            "What of its operations failed lately, in millionths.",
            |it| u64::from(it.failing_ppm),
        ),
        ("latency_milliseconds", "How long its operations took lately.", |it| {
            it.latency_ms
        }),
        ("in_flight", "Attempts under way.", |it| {
            u64::try_from(it.in_flight).unwrap_or(u64::MAX)
        }),
    ];
    for (name, help, count) in metrics {
        let _ = writeln!(
            text,
            "# HELP portolan_channel_{name} {help}\n# TYPE portolan_channel_{name} gauge"
        );
        for it in all {
            let (channel, operation) = (it.channel.as_str(), it.kind.as_str());
            let labels = format!("{{channel=\"{channel}\",operation=\"{operation}\"}}");
            let _ = writeln!(text, "portolan_channel_{name}{labels} {}", count(it));
        }
    }
}

/// What each loaded version of an adapter did, by adapter and the beginning of its digest.
fn versions(all: &[(Version, Option<Usage>)], text: &mut String) {
    type Count = fn(&Usage) -> u64;
    let metrics: [(&str, &str, &str, Count); 12] = [
        ("calls_total", "counter", "Calls of an adapter version.", |it| it.calls),
        ("guest_microseconds_total", "counter", "Time inside of it.", |it| {
            it.guest_us
        }),
        ("memory_peak_bytes", "gauge", "The most memory of one call.", |it| {
            it.memory_peak
        }),
        ("requests_total", "counter", "Requests to the provider.", |it| {
            it.requests
        }),
        (
            "provider_microseconds_total",
            "counter",
            "Time that the provider took.",
            |it| it.provider_us,
        ),
        ("sent_bytes_total", "counter", "Bodies out.", |it| it.bytes_out),
        ("received_bytes_total", "counter", "Bodies in.", |it| it.bytes_in),
        ("payments_total", "counter", "Attempts that came to an end.", |it| {
            it.tally.concluded
        }),
        ("declined_total", "counter", "Of these, declined.", |it| {
            it.tally.declined
        }),
        ("unknown_total", "counter", "Of these, unknown.", |it| it.tally.unknown),
        (
            "faulted_total",
            "counter",
            "Of these, without effect through its fault.",
            |it| it.tally.faulted,
        ),
        ("failed_calls_total", "counter", "Calls that failed.", |it| {
            it.faults.iter().map(|(_, count)| count).sum()
        }),
    ];
    for (name, kind, help, count) in metrics {
        let _ = writeln!(
            text,
            "# HELP portolan_adapter_{name} {help}\n# TYPE portolan_adapter_{name} {kind}"
        );
        for (version, usage) in all
            .iter()
            .filter_map(|(version, usage)| Some((version, usage.as_ref()?)))
        {
            let digest = lifecycle::short(&version.digest);
            let (adapter, stage) = (&version.adapter, version.stage.as_str());
            let labels = format!("{{adapter=\"{adapter}\",version=\"{digest}\",stage=\"{stage}\"}}");
            let _ = writeln!(text, "portolan_adapter_{name}{labels} {}", count(usage));
        }
    }
}
