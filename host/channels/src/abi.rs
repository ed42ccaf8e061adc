//! The contract 0.1 on the router's side: generated bindings, which interfaces a component has, and what each call means to
//! the domain. The call itself is `abi/call.rs`; conversions are in `abi/convert.rs`, and for exchanges and payouts in
//! `abi/trade.rs`; what stands in `extra` lists in `abi/extra.rs`. All of them happen here, in the router, wherever the guest ran: what it says is checked outside of it.

pub(crate) mod call;
pub(crate) mod convert;
mod extra;
mod trade;
mod generated {
    #![allow(missing_docs, clippy::all, clippy::restriction)]
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "portolan:channel/everything",
        imports: { default: trappable },
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

use crate::guest::Guest;
use crate::home::CallScope;
use crate::sandbox::SandboxError;
use crate::table::Adapter;
pub(crate) use call::{Ask, Told};
pub(crate) use generated::exports::portolan::channel as exported;
pub(crate) use generated::{Everything, portolan};
use portolan::channel::types as wit;
use portolan_domain::exchange::{Answer, Request, Word};
use portolan_domain::operation::{Context, Fault, FaultKind, Input, Kind, Operation, Target};
use portolan_domain::ports::{Notification, Receipt, Rejection, Step};
use portolan_domain::settlement::ReportLine;
use serde::{Deserialize, Serialize};
use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Engine, Store};

macro_rules! indices {
    ($($name:ident),+) => {
        /// The interfaces that a component exports; absent ones are capabilities that it does not have.
        pub(crate) struct Indices { $(pub $name: Option<exported::$name::GuestIndices>,)+ }

        /// The same, as far as anyone outside has to know.
        #[derive(Clone, Copy, Debug, Serialize, Deserialize)]
        pub(crate) struct Exports { $(pub $name: bool,)+ }

        impl Indices {
            pub fn exports(&self) -> Exports {
                Exports { $($name: self.$name.is_some(),)+ }
            }

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

/// Something that the guest cannot have returned for that call.
fn stray() -> Fault {
    Fault {
        kind: FaultKind::Trap,
        text: "the answer is not one to this call".into(),
    }
}

fn unsupported(interface: &str) -> Fault {
    Fault {
        kind: FaultKind::Unsupported,
        text: format!("the adapter does not export {interface}"),
    }
}

/// The function of an operation, with its arguments.
pub(crate) fn asked(operation: &Operation, input: &Input, answers: &[Answer]) -> Result<Ask, Fault> {
    let ctx = convert::context(&operation.context);
    let answers = answers.iter().map(convert::answer).collect::<Vec<_>>();
    let amount = || convert::money(&operation.amount);
    Ok(match input {
        Input::Authorize(of) => Ask::Authorize(ctx, convert::authorization(operation, of), answers),
        Input::Resume(of, target, returned) => {
            let original = convert::authorization(operation, of);
            Ask::Resume(ctx, original, convert::target(target), returned.clone(), answers)
        }
        Input::Capture(target, is_final) => Ask::Capture(ctx, convert::target(target), amount(), *is_final, answers),
        Input::Cancel(target) => Ask::Cancel(ctx, convert::target(target), answers),
        Input::Refund(target, reason) => Ask::Refund(ctx, convert::target(target), amount(), reason.clone(), answers),
        Input::Reverse(target) => Ask::Reverse(ctx, convert::target(target), answers),
        Input::Quote(inquiry) => Ask::Quote(ctx, trade::inquiry(inquiry), answers),
        Input::Convert(quotation) => Ask::Convert(ctx, trade::conversion(operation, quotation), answers),
        Input::Pay(order) => Ask::Pay(ctx, trade::payout(operation, order), answers),
        Input::Sweep(of) => Ask::Pay(ctx, trade::sweep(operation, of), answers),
        Input::Poll(cursor) => Ask::Poll(ctx, cursor.clone(), answers),
        Input::Status(target) => return asked_status(target, ctx, answers),
    })
}

fn asked_status(target: &Target, ctx: wit::Context, answers: Vec<wit::Answer>) -> Result<Ask, Fault> {
    let of = convert::target(target);
    Ok(match target.kind {
        Kind::Authorize | Kind::Resume => Ask::PaymentStatus(ctx, of, answers),
        Kind::Capture | Kind::Cancel => Ask::CaptureStatus(ctx, of, answers),
        Kind::Refund => Ask::RefundStatus(ctx, of, answers),
        Kind::Reverse => Ask::ReverseStatus(ctx, of, answers),
        Kind::Convert | Kind::Quote => Ask::ConvertStatus(ctx, of, answers),
        Kind::Pay | Kind::Sweep => Ask::PayoutStatus(ctx, of, answers),
        Kind::Poll => return Err(unsupported("a status of its feed")),
    })
}

/// Puts the words of a call beside the request that they stand in.
fn with_words(request: Request, words: Vec<Word>) -> Request {
    Request { words, ..request }
}

impl Adapter {
    /// Runs the function of an operation once.
    pub(crate) fn step(
        &self,
        scope: &CallScope,
        operation: &Operation,
        input: &Input,
        answers: &[Answer],
    ) -> Result<Step, Fault> {
        let (told, traces) = self.call(scope, asked(operation, input, answers)?);
        let step = match told? {
            Told::Payment(step) => convert::payment_step(step.map_err(convert::fault)?),
            Told::Status(step) => convert::status_step(step.map_err(convert::fault)?),
            Told::FollowUp(step) => convert::capture_step(step.map_err(convert::fault)?),
            Told::Quoted(step) => trade::quote_step(step.map_err(convert::fault)?),
            Told::Converted(step) => trade::convert_step(step.map_err(convert::fault)?),
            Told::Paid(step) => trade::payout_step(step.map_err(convert::fault)?),
            Told::Page(step) => convert::feed_step(step.map_err(convert::fault)?),
            Told::Absent(interface) => return Err(unsupported(&interface)),
            Told::Manifest(_) | Told::Session(_) | Told::Received(_) | Told::Parsed(_) => return Err(stray()),
        }?;
        Ok(match step {
            Step::Send(request) => Step::Send(with_words(request, traces.words)),
            Step::Done(outcome) => Step::Done(outcome),
        })
    }

    /// Runs the opening of a session once.
    pub(crate) fn session_step(
        &self,
        scope: &CallScope,
        context: &Context,
        name: &str,
        answers: &[Answer],
    ) -> Result<SessionStep, Fault> {
        let answers = answers.iter().map(convert::answer).collect();
        let ask = Ask::Start(convert::context(context), name.to_owned(), answers);
        let (told, traces) = self.call(scope, ask);
        match told? {
            Told::Session(step) => Ok(match step.map_err(convert::fault)? {
                exported::sessions::Step::Send(request) => {
                    SessionStep::Send(with_words(convert::request(request), traces.words))
                }
                exported::sessions::Step::Done(opened) => SessionStep::Opened(opened),
            }),
            Told::Absent(interface) => Err(unsupported(&interface)),
            _ => Err(stray()),
        }
    }

    /// Lets the adapter read a piece of a report.
    pub(crate) fn parse_report(
        &self,
        scope: &CallScope,
        context: &Context,
        (piece, carry, is_last): (&[u8], &[u8], bool),
    ) -> Result<(Vec<ReportLine>, Vec<u8>), Fault> {
        let ask = Ask::Parse(convert::context(context), piece.to_vec(), carry.to_vec(), is_last);
        match self.call(scope, ask).0? {
            Told::Parsed(parsed) => {
                let parsed = parsed.map_err(convert::fault)?;
                let lines: Result<Vec<ReportLine>, Fault> =
                    parsed.lines.into_iter().map(convert::report_line).collect();
                Ok((lines?, parsed.carry))
            }
            Told::Absent(interface) => Err(unsupported(&interface)),
            _ => Err(stray()),
        }
    }

    /// Lets the adapter read a notification. A receipt from a call in which nothing was verified is refused.
    pub(crate) fn receive(
        &self,
        scope: &CallScope,
        context: &Context,
        notification: &Notification,
    ) -> Result<Receipt, Rejection> {
        let ask = Ask::Receive(convert::context(context), convert::notification(notification));
        let (told, traces) = self.call(scope, ask);
        let failed = |fault: Fault| Rejection("plugin_fault", fault.to_string());
        match told.map_err(failed)? {
            Told::Received(Err(rejection)) => Err(convert::rejection(rejection)),
            Told::Received(Ok(exported::notifications::Step::Send(_))) => Err(Rejection(
                "unsupported",
                "a notification is read without asking the provider".into(),
            )),
            Told::Received(Ok(exported::notifications::Step::Done(_))) if !traces.verified => {
                Err(Rejection("forged", "the adapter verified nothing".into()))
            }
            Told::Received(Ok(exported::notifications::Step::Done(receipt))) => Ok(convert::receipt(receipt)),
            Told::Absent(_) => Err(Rejection("unsupported", "the adapter takes no notifications".into())),
            _ => Err(failed(stray())),
        }
    }
}

/// What opening a session leads to.
pub(crate) enum SessionStep {
    Send(Request),
    Opened(exported::sessions::Opened),
}
