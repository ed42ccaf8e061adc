//! The contract 0.1 on the host's side: generated bindings, which interfaces a component has, and one call of each.
//! Conversions between the contract's types and the domain's are in `abi/convert.rs`, and for exchanges and payouts in
//! `abi/trade.rs`.

pub(crate) mod convert;
mod trade;
mod generated {
    #![allow(missing_docs, clippy::all, clippy::restriction)]
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "portolan:channel/everything",
        imports: { default: trappable },
    });
}

use crate::guest::{self, CallScope, Guest};
use crate::sandbox::{Prepared, SandboxError};
pub(crate) use generated::exports::portolan::channel as exported;
pub(crate) use generated::{Everything, portolan};
use portolan_domain::exchange::Answer;
use portolan_domain::operation::{Fault, FaultKind, Input, Kind, Operation};
use portolan_domain::ports::{Notification, Receipt, Rejection, Step};
use portolan_domain::settlement::ReportLine;
use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Engine, Store};

pub(crate) fn refusal(text: String) -> portolan::channel::keys::Refusal {
    portolan::channel::keys::Refusal::Unsuitable(text)
}

macro_rules! indices {
    ($($name:ident),+) => {
        /// The interfaces that a component exports; absent ones are capabilities that it does not have.
        pub(crate) struct Indices { $(pub $name: Option<exported::$name::GuestIndices>,)+ }

        impl Indices {
            pub fn find(pre: &InstancePre<Guest>) -> Self {
                Self { $($name: exported::$name::GuestIndices::new(pre).ok(),)+ }
            }

            /// Type-checks every exported interface against one instance: a changed record shows only here.
            fn load_all(&self, store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<()> {
                $(if let Some(indices) = &self.$name { indices.load(&mut *store, instance)?; })+
                Ok(())
            }
        }
    };
}
indices!(
    adapter,
    sessions,
    payments,
    actions,
    captures,
    refunds,
    reversals,
    payouts,
    exchange,
    notifications,
    feeds,
    settlements
);

/// Refuses names under our package that the contract does not have, or in another version.
pub(crate) fn check_exports(component: &Component, engine: &Engine) -> Result<(), SandboxError> {
    const KNOWN: [&str; 12] = [
        "adapter",
        "sessions",
        "payments",
        "actions",
        "captures",
        "refunds",
        "reversals",
        "payouts",
        "exchange",
        "notifications",
        "feeds",
        "settlements",
    ];
    let known = |name: &str| {
        KNOWN
            .iter()
            .any(|known| name == format!("portolan:channel/{known}@0.1.0"))
    };
    let component_type = component.component_type();
    for (name, _) in component_type.exports(engine) {
        if name.starts_with("portolan:") && !known(name) {
            return Err(SandboxError::Component(format!(
                "the export {name} is not in the contract 0.1.0"
            )));
        }
    }
    Ok(())
}

/// Instantiates once, type-checks every interface and asks the adapter who it is.
pub(crate) fn describe(prepared: &Prepared, scope: CallScope) -> Result<exported::adapter::Manifest, Fault> {
    call(prepared, scope, |store, instance| {
        prepared.indices.load_all(store, instance)?;
        let Some(indices) = &prepared.indices.adapter else {
            return Err(wasmtime::Error::msg(
                "the component does not export portolan:channel/adapter@0.1.0",
            ));
        };
        indices.load(&mut *store, instance)?.call_describe(store)
    })
    .map(|(manifest, _)| manifest)
}

/// What stays of a call: the words for the wire, and whether a signature was verified.
pub(crate) struct Traces {
    pub words: Vec<portolan_domain::exchange::Word>,
    pub verified: bool,
}

fn call<T>(
    prepared: &Prepared,
    scope: CallScope,
    function: impl FnOnce(&mut Store<Guest>, &Instance) -> wasmtime::Result<T>,
) -> Result<(T, Traces), Fault> {
    let mut store = guest::store(prepared.pre.engine(), scope);
    let result = prepared
        .pre
        .instantiate(&mut store)
        .and_then(|instance| function(&mut store, &instance));
    match result {
        Ok(value) => {
            guest::count(&store, None);
            let data = store.data_mut();
            Ok((
                value,
                Traces {
                    words: std::mem::take(&mut data.words),
                    verified: data.verified,
                },
            ))
        }
        Err(error) => {
            let fault = guest::fault(&store, &error);
            guest::count(&store, Some(&fault));
            Err(fault)
        }
    }
}

macro_rules! guest {
    ($prepared:ident, $store:ident, $instance:ident, $interface:ident) => {
        match &$prepared.indices.$interface {
            Some(indices) => indices.load(&mut *$store, $instance)?,
            None => return Ok(Err(unsupported(stringify!($interface)))),
        }
    };
}

fn unsupported(interface: &str) -> Fault {
    Fault {
        kind: FaultKind::Unsupported,
        text: format!("the adapter does not export {interface}"),
    }
}

/// Runs the function of an operation once.
pub(crate) fn step(
    prepared: &Prepared,
    scope: CallScope,
    operation: &Operation,
    input: &Input,
    answers: &[Answer],
) -> Result<Step, Fault> {
    let ctx = convert::context(&operation.context);
    let answers = answers.iter().map(convert::answer).collect::<Vec<_>>();
    let amount = convert::money(&operation.amount);
    let (step, traces) = call(prepared, scope, |store, instance| {
        let step = match input {
            Input::Authorize(authorization) => {
                let request = convert::authorization(operation, authorization);
                guest!(prepared, store, instance, payments)
                    .call_authorize(store, &ctx, &request, &answers)?
                    .map_err(convert::fault)
                    .and_then(convert::payment_step)
            }
            Input::Resume(authorization, target, returned) => {
                let request = convert::authorization(operation, authorization);
                let target = convert::target(target);
                guest!(prepared, store, instance, actions)
                    .call_resume(store, &ctx, &request, &target, returned, &answers)?
                    .map_err(convert::fault)
                    .and_then(convert::payment_step)
            }
            Input::Capture(target, is_final) => guest!(prepared, store, instance, captures)
                .call_capture(store, &ctx, &convert::target(target), &amount, *is_final, &answers)?
                .map_err(convert::fault)
                .and_then(convert::capture_step),
            Input::Cancel(target) => guest!(prepared, store, instance, captures)
                .call_cancel(store, &ctx, &convert::target(target), &answers)?
                .map_err(convert::fault)
                .and_then(convert::capture_step),
            Input::Refund(target, reason) => guest!(prepared, store, instance, refunds)
                .call_refund(
                    store,
                    &ctx,
                    &convert::target(target),
                    &amount,
                    reason.as_deref(),
                    &answers,
                )?
                .map_err(convert::fault)
                .and_then(convert::capture_step),
            Input::Reverse(target) => guest!(prepared, store, instance, reversals)
                .call_reverse(store, &ctx, &convert::target(target), &answers)?
                .map_err(convert::fault)
                .and_then(convert::capture_step),
            Input::Quote(inquiry) => guest!(prepared, store, instance, exchange)
                .call_quote(store, &ctx, &trade::inquiry(inquiry), &answers)?
                .map_err(convert::fault)
                .and_then(trade::quote_step),
            Input::Convert(quotation) => guest!(prepared, store, instance, exchange)
                .call_convert(store, &ctx, &trade::conversion(operation, quotation), &answers)?
                .map_err(convert::fault)
                .and_then(trade::convert_step),
            Input::Pay(order) => guest!(prepared, store, instance, payouts)
                .call_pay(store, &ctx, &trade::payout(operation, order), &answers)?
                .map_err(convert::fault)
                .and_then(trade::payout_step),
            Input::Poll(cursor) => guest!(prepared, store, instance, feeds)
                .call_poll(store, &ctx, cursor, &answers)?
                .map_err(convert::fault)
                .and_then(convert::feed_step),
            Input::Status(target) => {
                let of = convert::target(target);
                match target.kind {
                    Kind::Authorize | Kind::Resume => guest!(prepared, store, instance, payments)
                        .call_status(store, &ctx, &of, &answers)?
                        .map_err(convert::fault)
                        .and_then(convert::status_step),
                    Kind::Capture | Kind::Cancel => guest!(prepared, store, instance, captures)
                        .call_status(store, &ctx, &of, &answers)?
                        .map_err(convert::fault)
                        .and_then(convert::capture_step),
                    Kind::Refund => guest!(prepared, store, instance, refunds)
                        .call_status(store, &ctx, &of, &answers)?
                        .map_err(convert::fault)
                        .and_then(convert::capture_step),
                    Kind::Reverse => guest!(prepared, store, instance, reversals)
                        .call_status(store, &ctx, &of, &answers)?
                        .map_err(convert::fault)
                        .and_then(convert::capture_step),
                    Kind::Convert | Kind::Quote => guest!(prepared, store, instance, exchange)
                        .call_status(store, &ctx, &of, &answers)?
                        .map_err(convert::fault)
                        .and_then(trade::convert_step),
                    Kind::Poll => return Ok(Err(unsupported("a status of its feed"))),
                    Kind::Pay => guest!(prepared, store, instance, payouts)
                        .call_status(store, &ctx, &of, &answers)?
                        .map_err(convert::fault)
                        .and_then(trade::payout_step),
                }
            }
        };
        Ok(step)
    })?;
    step.map(|step| match step {
        Step::Send(request) => Step::Send(portolan_domain::exchange::Request {
            words: traces.words,
            ..request
        }),
        Step::Done(outcome) => Step::Done(outcome),
    })
}

/// What opening a session leads to.
pub(crate) enum SessionStep {
    Send(portolan_domain::exchange::Request),
    Opened(exported::sessions::Opened),
}

/// Runs the opening of a session once.
pub(crate) fn session_step(
    prepared: &Prepared,
    scope: CallScope,
    context: &portolan_domain::operation::Context,
    name: &str,
    answers: &[Answer],
) -> Result<SessionStep, Fault> {
    let ctx = convert::context(context);
    let answers = answers.iter().map(convert::answer).collect::<Vec<_>>();
    let (step, traces) = call(prepared, scope, |store, instance| {
        let sessions = guest!(prepared, store, instance, sessions);
        Ok(sessions
            .call_start(store, &ctx, name, &answers)?
            .map_err(convert::fault))
    })?;
    Ok(match step? {
        exported::sessions::Step::Send(request) => {
            let request = convert::request(request);
            SessionStep::Send(portolan_domain::exchange::Request {
                words: traces.words,
                ..request
            })
        }
        exported::sessions::Step::Done(opened) => SessionStep::Opened(opened),
    })
}

/// Lets the adapter read a piece of a report.
pub(crate) fn parse_report(
    prepared: &Prepared,
    scope: CallScope,
    context: &portolan_domain::operation::Context,
    (piece, carry, is_last): (&[u8], &[u8], bool),
) -> Result<(Vec<ReportLine>, Vec<u8>), Fault> {
    let ctx = convert::context(context);
    let (parsed, _) = call(prepared, scope, |store, instance| {
        let settlements = guest!(prepared, store, instance, settlements);
        let parsed = settlements.call_parse(store, &ctx, piece, carry, is_last)?;
        Ok(parsed.map_err(convert::fault))
    })?;
    let parsed = parsed?;
    let lines: Result<Vec<ReportLine>, Fault> = parsed.lines.into_iter().map(convert::report_line).collect();
    Ok((lines?, parsed.carry))
}

/// Lets the adapter read a notification. A receipt from a call in which nothing was verified is refused.
pub(crate) fn receive(
    prepared: &Prepared,
    scope: CallScope,
    context: &portolan_domain::operation::Context,
    notification: &Notification,
) -> Result<Receipt, Rejection> {
    let ctx = convert::context(context);
    let notification = convert::notification(notification);
    let called = call(prepared, scope, |store, instance| {
        let Some(indices) = &prepared.indices.notifications else {
            return Ok(None);
        };
        indices
            .load(&mut *store, instance)?
            .call_receive(store, &ctx, &notification, &[])
            .map(Some)
    });
    let (received, traces) = called.map_err(|fault| Rejection("plugin_fault", fault.to_string()))?;
    match received {
        None => Err(Rejection("unsupported", "the adapter takes no notifications".into())),
        Some(Err(rejection)) => Err(convert::rejection(rejection)),
        Some(Ok(exported::notifications::Step::Send(_))) => Err(Rejection(
            "unsupported",
            "a notification is read without asking the provider".into(),
        )),
        Some(Ok(exported::notifications::Step::Done(_))) if !traces.verified => {
            Err(Rejection("forged", "the adapter verified nothing".into()))
        }
        Some(Ok(exported::notifications::Step::Done(receipt))) => Ok(convert::receipt(receipt)),
    }
}
