//! The contract's types and the domain's, in both directions. Amounts are checked here: exact, known asset, never
//! negative.

use super::exported::{captures, feeds, notifications, payments, settlements};
use super::extra;
use super::portolan::channel::types as wit;
use portolan_domain::exchange::{Answer, Body, Effect, Reply, Request};
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::Subject;
use portolan_domain::operation::reason;
use portolan_domain::operation::{
    Action, Authorization, Context, Decline, Doubt, Fault, FaultKind, FeedPage, Instrument, Memo, Operation, Outcome,
    Retry, Standing, State, Target,
};
use portolan_domain::ports::{Notification, Receipt, Rejection, Step};
use portolan_domain::settlement::ReportLine;

/// More minor units than any amount has: what books add up stays far below the largest number.
pub(super) const MINOR_MAX: i128 = 10_i128.pow(30);

// === to the guest ===

pub(crate) fn money(money: &Money) -> wit::Money {
    wit::Money {
        units: money.minor().to_string(),
        exponent: money.asset().exponent(),
        asset: money.asset().code().to_owned(),
    }
}

pub(crate) fn context(context: &Context) -> wit::Context {
    wit::Context {
        operation: context.operation.to_string(),
        keys: context.keys.clone(),
        now_ms: context.now_ms,
        entropy: context.entropy.to_vec(),
        settings: context.settings.clone(),
        secrets: context.secrets.clone(),
        notify_url: context.notify_url.clone(),
        return_url: context.return_url.clone(),
        extra: vec![],
    }
}

pub(crate) fn answer(answer: &Answer) -> wit::Answer {
    let reply = match &answer.reply {
        Reply::Response(response) => Ok(wit::Response {
            status: response.status,
            headers: headers(&response.headers),
            body: response.body.as_bytes().to_vec(),
        }),
        Reply::NotSent(text) => Err(wit::NoResponse::NotSent(text.clone())),
        Reply::Unknown(text) => Err(wit::NoResponse::Unknown(text.clone())),
    };
    wit::Answer {
        at_ms: answer.at_ms,
        reply,
    }
}

fn headers(pairs: &[(String, String)]) -> Vec<wit::Header> {
    pairs
        .iter()
        .map(|(name, value)| wit::Header {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

pub(crate) fn target(target: &Target) -> wit::Target {
    wit::Target {
        kind: target.kind.as_str().into(),
        operation: target.operation.to_string(),
        keys: target.keys.clone(),
        reference: target.reference.clone(),
        parent_reference: target.parent_reference.clone(),
        amount: Some(money(&target.amount)),
        started_ms: target.started_ms,
        memo: target.memo.as_ref().map(memo),
        extra: extra::of_target(target),
    }
}

pub(crate) fn memo(memo: &Memo) -> wit::Memo {
    wit::Memo {
        format: memo.format,
        bytes: memo.bytes.clone(),
    }
}

pub(crate) fn authorization(operation: &Operation, authorization: &Authorization) -> payments::Authorization {
    let instrument = match &authorization.instrument {
        Instrument::Card(_, card) => payments::Instrument::Card(payments::Card {
            number: operation.context.card_number.clone(),
            security_code: operation.context.card_code.clone(),
            expiry_month: card.expiry_month,
            expiry_year: card.expiry_year,
            bin: card.bin.clone(),
            last4: card.last4.clone(),
            brand: card.brand.clone(),
            holder: card.holder.clone(),
        }),
        Instrument::Wallet(name) => payments::Instrument::Wallet(name.clone()),
        Instrument::Token(code) => payments::Instrument::Token(code.clone()),
    };
    payments::Authorization {
        payment: operation.payment.to_string(),
        amount: money(&operation.amount),
        capture: authorization.capture,
        instrument,
        payer: wit::Party {
            kind: wit::PartyKind::Natural,
            name: authorization.payer_name.clone(),
            address: None,
            email: authorization.payer_email.clone(),
            phone: None,
            birth_date: None,
            identifiers: vec![],
        },
        shipping: None,
        browser: None,
        locale: None,
        authentication: None,
        credential_use: None,
        description: authorization.description.clone(),
        statement_descriptor: authorization.statement_descriptor.clone(),
        expires_ms: authorization.expires_ms,
        index: authorization.index,
        extra: extra::of_authorization(authorization),
    }
}

pub(crate) fn notification(notification: &Notification) -> notifications::Notification {
    notifications::Notification {
        method: notification.method.clone(),
        path: notification.path.clone(),
        query: notification.query.clone(),
        headers: headers(&notification.headers),
        body: notification.body.clone(),
    }
}

// === from the guest ===

pub(super) fn protocol(text: String) -> Fault {
    Fault {
        kind: FaultKind::Protocol,
        text,
    }
}

/// The exact amount in the asset's own exponent; a fraction of a minor unit is refused.
pub(super) fn read_money(money: wit::Money) -> Result<Money, Fault> {
    let bad = |why: &str| {
        protocol(format!(
            "the amount {} x 10^-{} {}: {why}",
            money.units, money.exponent, money.asset
        ))
    };
    // A token counts as the adapter says; if the router counts it otherwise, it is another asset, and refused as such.
    let asset = Asset::currency(&money.asset).or_else(|| Asset::token(&money.asset, money.exponent));
    let asset = asset.ok_or_else(|| bad("the asset is unknown"))?;
    let is_digits = (1..=38).contains(&money.units.len()) && money.units.bytes().all(|byte| byte.is_ascii_digit());
    let units: i128 = Some(&money.units)
        .filter(|_| is_digits)
        .and_then(|units| units.parse().ok())
        .ok_or_else(|| bad("no number"))?;
    let scale = |places: u8| 10_i128.checked_pow(u32::from(places));
    let minor = match asset.exponent().checked_sub(money.exponent) {
        Some(missing) => scale(missing).and_then(|factor| units.checked_mul(factor)),
        None => scale(money.exponent - asset.exponent())
            .filter(|factor| units.checked_rem(*factor) == Some(0))
            .and_then(|factor| units.checked_div(factor)),
    };
    minor
        .filter(|minor| *minor <= MINOR_MAX)
        .and_then(|minor| Money::new(minor, asset))
        .ok_or_else(|| bad("no whole number of minor units"))
}

pub(super) fn read_memo(memo: wit::Memo) -> Memo {
    Memo {
        format: memo.format,
        bytes: memo.bytes,
    }
}

/// The request as the guest wrote it. Its effect is a write until the grant says otherwise.
pub(crate) fn request(request: wit::Request) -> Request {
    Request {
        endpoint: request.endpoint,
        method: request.method,
        path: request.path,
        headers: request
            .headers
            .into_iter()
            .map(|header| (header.name, header.value))
            .collect(),
        body: Body::from(request.body),
        effect: Effect::Write,
        timeout_ms: request.timeout_ms,
        words: vec![],
    }
}

pub(crate) fn fault(fault: wit::Fault) -> Fault {
    let (kind, text) = match fault {
        wit::Fault::Unsupported(text) => (FaultKind::Unsupported, text),
        wit::Fault::Invalid((field, why)) => (FaultKind::Invalid, format!("{field}: {why}")),
        wit::Fault::Protocol(text) => (FaultKind::Protocol, text),
        wit::Fault::Misconfigured(text) => (FaultKind::Misconfigured, text),
        wit::Fault::StaleSession(name) => (FaultKind::StaleSession, name),
        wit::Fault::Other(text) => (FaultKind::Other, text),
    };
    Fault { kind, text }
}

pub(super) fn decline(decline: wit::Decline) -> Decline {
    Decline {
        retry: match decline.retry {
            wit::Retry::Never => Retry::Never,
            wit::Retry::OtherChannel => Retry::OtherChannel,
            wit::Retry::Later => Retry::Later,
            wit::Retry::AfterAuthentication => Retry::AfterAuthentication,
            wit::Retry::AfterCorrection => Retry::AfterCorrection,
        },
        reason: reason::known(&decline.reason).to_owned(),
        provider_code: decline.provider_code,
        network_code: decline.network_code,
        advice: decline.advice,
        message: decline.message,
        wait_ms: None,
        blocks_card: false,
    }
}

fn action(action: wit::Action) -> Result<Action, Fault> {
    Ok(match action {
        wit::Action::Redirect(url) => Action::Redirect(url),
        wit::Action::Form((url, fields)) => Action::Form(url, fields),
        wit::Action::Qr(text) => Action::Qr(text),
        wit::Action::TransferTo((address, money)) => Action::TransferTo(address, read_money(money)?),
        wit::Action::Wallet(json) => Action::Other("wallet".into(), json),
        wit::Action::Other((kind, value)) => Action::Other(kind, value),
    })
}

pub(crate) fn payment_step(step: payments::Step) -> Result<Step, Fault> {
    let outcome = match step {
        payments::Step::Send(it) => return Ok(Step::Send(request(it))),
        payments::Step::Done(outcome) => outcome,
    };
    Ok(Step::Done(match outcome {
        payments::Outcome::Accepted(accepted) => Outcome::Accepted {
            reference: accepted.reference,
            authorized: read_money(accepted.authorized)?,
            captured: accepted.captured,
            network_reference: accepted.network_reference,
            authentication: extra::authentication(&accepted.extra),
            memo: accepted.memo.map(read_memo),
        },
        payments::Outcome::Waiting(waiting) => Outcome::Waiting {
            reference: waiting.reference,
            action: waiting.action.map(action).transpose()?,
            check_after_ms: waiting.check_after_ms,
            memo: waiting.memo.map(read_memo),
        },
        payments::Outcome::Declined(it) => Outcome::Declined(decline(it)),
        payments::Outcome::Unknown(doubt) => Outcome::Unknown(Doubt {
            why: doubt.why,
            reference: doubt.reference,
        }),
    }))
}

pub(crate) fn status_step(step: payments::StatusStep) -> Result<Step, Fault> {
    let finding = match step {
        payments::StatusStep::Send(it) => return Ok(Step::Send(request(it))),
        payments::StatusStep::Done(finding) => finding,
    };
    Ok(Step::Done(match finding {
        payments::Finding::NotFound => Outcome::NotFound,
        payments::Finding::Unknown(why) => Outcome::Unknown(why.into()),
        payments::Finding::Standing(standing) => {
            let captured = standing.captured.map(read_money).transpose()?;
            let authorized = standing.authorized.map(read_money).transpose()?;
            let watch_ms = extra::after_ms(&standing.extra, "watch")?;
            let sweep_ms = extra::after_ms(&standing.extra, "sweep")?;
            let authentication = extra::authentication(&standing.extra);
            let disputes = extra::disputes(standing.extra, captured.as_ref().or(authorized.as_ref()))?;
            Outcome::Standing(Standing {
                reference: standing.reference,
                state: match standing.state {
                    payments::State::Waiting => State::Waiting,
                    payments::State::Authorized => State::Authorized,
                    payments::State::Captured => State::Captured,
                    payments::State::Failed => State::Failed,
                    payments::State::Canceled => State::Canceled,
                    payments::State::Expired => State::Expired,
                    payments::State::Reversed => State::Reversed,
                    payments::State::Disputed => State::Disputed,
                },
                authorized,
                captured,
                refunded: standing.refunded.map(read_money).transpose()?,
                received: standing.received.map(read_money).transpose()?,
                declined: standing.declined.map(decline),
                disputes,
                watch_ms,
                sweep_ms,
                authentication,
            })
        }
    }))
}

pub(crate) fn capture_step(step: captures::Step) -> Result<Step, Fault> {
    let outcome = match step {
        captures::Step::Send(it) => return Ok(Step::Send(request(it))),
        captures::Step::Done(outcome) => outcome,
    };
    Ok(Step::Done(match outcome {
        captures::Outcome::Done(done) => Outcome::Done {
            reference: done.reference,
            amount: read_money(done.amount)?,
            memo: done.memo.map(read_memo),
        },
        captures::Outcome::Waiting(check_after_ms) => Outcome::Waiting {
            reference: None,
            action: None,
            check_after_ms,
            memo: None,
        },
        captures::Outcome::Declined(it) => Outcome::Declined(decline(it)),
        captures::Outcome::NotFound => Outcome::NotFound,
        captures::Outcome::Unknown(why) => Outcome::Unknown(why.into()),
    }))
}

fn subject(it: wit::Subject) -> Subject {
    let is_dispute = it.extra.iter().any(|(name, what)| name == "about" && what == "dispute");
    let subject = Subject {
        key: it.key,
        reference: it.reference,
        event: it.event,
    };
    if is_dispute { subject.about_dispute() } else { subject }
}

pub(crate) fn feed_step(step: feeds::Step) -> Result<Step, Fault> {
    let page = match step {
        feeds::Step::Send(it) => return Ok(Step::Send(request(it))),
        feeds::Step::Done(page) => page,
    };
    Ok(Step::Done(Outcome::Page(FeedPage {
        subjects: page.subjects.into_iter().map(subject).collect(),
        cursor: page.cursor,
        check_after_ms: page.check_after_ms,
    })))
}

pub(crate) fn report_line(line: settlements::Line) -> Result<ReportLine, Fault> {
    let is_credit = line.gross.direction == settlements::Direction::Credit;
    Ok(ReportLine {
        kind: line.kind,
        reference: line.reference,
        key: line.key,
        batch: line.batch.unwrap_or_default(),
        is_credit,
        gross: read_money(line.gross.amount)?,
        fee: read_money(line.fee.amount)?,
        net: read_money(line.net.amount)?,
        text: line
            .extra
            .into_iter()
            .find(|(name, _)| name == "text")
            .map(|(_, text)| text)
            .unwrap_or_default(),
    })
}

pub(crate) fn receipt(receipt: notifications::Receipt) -> Receipt {
    Receipt {
        subjects: receipt.subjects.into_iter().map(subject).collect(),
        status: receipt.reply.status,
        body: receipt.reply.body,
    }
}

pub(crate) fn rejection(rejection: notifications::Rejection) -> Rejection {
    match rejection {
        notifications::Rejection::Forged(text) => Rejection("forged", text),
        notifications::Rejection::Malformed(text) => Rejection("malformed", text),
        notifications::Rejection::Stale(text) => Rejection("stale", text),
        notifications::Rejection::Unsupported(text) => Rejection("unsupported", text),
        notifications::Rejection::Misconfigured(text) => Rejection("misconfigured", text),
        notifications::Rejection::Other(text) => Rejection("other", text),
    }
}
