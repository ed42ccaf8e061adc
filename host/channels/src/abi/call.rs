//! One call of the contract, as values that fit through a pipe: what is asked, what is told, and the call itself. Nothing is
//! converted or believed here; that is the router's part, in `abi.rs`.

use super::exported::{adapter, captures, exchange, feeds, notifications, payments, payouts, sessions, settlements};
use super::portolan::channel::types::{Answer, Context, Fault, Money, Target};
use crate::guest::{self, Bounds, Guest, Traces};
use crate::ring::Keyring;
use crate::sandbox::Prepared;
use portolan_domain::operation as domain;
use serde::{Deserialize, Serialize};
use wasmtime::Store;
use wasmtime::component::Instance;

type Answers = Vec<Answer>;

/// A function of the contract with its arguments.
#[derive(Serialize, Deserialize)]
pub(crate) enum Ask {
    Describe,
    Start(Context, String, Answers),
    Authorize(Context, payments::Authorization, Answers),
    PaymentStatus(Context, Target, Answers),
    Resume(Context, payments::Authorization, Target, Vec<(String, String)>, Answers),
    Capture(Context, Target, Money, bool, Answers),
    Cancel(Context, Target, Answers),
    CaptureStatus(Context, Target, Answers),
    Refund(Context, Target, Money, Option<String>, Answers),
    RefundStatus(Context, Target, Answers),
    Reverse(Context, Target, Answers),
    ReverseStatus(Context, Target, Answers),
    Quote(Context, exchange::Inquiry, Answers),
    Convert(Context, exchange::Conversion, Answers),
    ConvertStatus(Context, Target, Answers),
    Pay(Context, payouts::Payout, Answers),
    PayoutStatus(Context, Target, Answers),
    Poll(Context, Vec<u8>, Answers),
    Receive(Context, notifications::Notification),
    Parse(Context, Vec<u8>, Vec<u8>, bool),
}

/// What the guest returned.
#[derive(Serialize, Deserialize)]
pub(crate) enum Told {
    Manifest(Box<adapter::Manifest>),
    Session(Result<sessions::Step, Fault>),
    Payment(Result<payments::Step, Fault>),
    Status(Result<payments::StatusStep, Fault>),
    FollowUp(Result<captures::Step, Fault>),
    Quoted(Result<exchange::QuoteStep, Fault>),
    Converted(Result<exchange::Step, Fault>),
    Paid(Result<payouts::Step, Fault>),
    Page(Result<feeds::Step, Fault>),
    Received(Result<notifications::Step, notifications::Rejection>),
    Parsed(Result<settlements::Parsed, Fault>),
    /// The component does not export that interface.
    Absent(String),
}

impl Told {
    /// Whether a call of that function can return this. Whoever ran the guest elsewhere is not simply believed.
    pub fn is_of(&self, ask: &Ask) -> bool {
        match self {
            Self::Manifest(_) => matches!(ask, Ask::Describe),
            Self::Session(_) => matches!(ask, Ask::Start(..)),
            Self::Payment(_) => matches!(ask, Ask::Authorize(..) | Ask::Resume(..)),
            Self::Status(_) => matches!(ask, Ask::PaymentStatus(..)),
            Self::FollowUp(_) => matches!(
                ask,
                Ask::Capture(..)
                    | Ask::Cancel(..)
                    | Ask::CaptureStatus(..)
                    | Ask::Refund(..)
                    | Ask::RefundStatus(..)
                    | Ask::Reverse(..)
                    | Ask::ReverseStatus(..)
            ),
            Self::Quoted(_) => matches!(ask, Ask::Quote(..)),
            Self::Converted(_) => matches!(ask, Ask::Convert(..) | Ask::ConvertStatus(..)),
            Self::Paid(_) => matches!(ask, Ask::Pay(..) | Ask::PayoutStatus(..)),
            Self::Page(_) => matches!(ask, Ask::Poll(..)),
            Self::Received(_) => matches!(ask, Ask::Receive(..)),
            Self::Parsed(_) => matches!(ask, Ask::Parse(..)),
            Self::Absent(_) => !matches!(ask, Ask::Describe),
        }
    }
}

/// One call in a fresh instance. Whatever goes wrong in it is a fault, and the traces stay.
pub(crate) fn call(
    prepared: &Prepared,
    bounds: Bounds,
    ring: Box<dyn Keyring>,
    ask: &Ask,
) -> (Result<Told, domain::Fault>, Traces) {
    prepared.clock.begin();
    let mut store = guest::store(prepared.pre.engine(), bounds, ring);
    let called = prepared
        .pre
        .instantiate(&mut store)
        .and_then(|instance| dispatch(prepared, &mut store, &instance, ask));
    let told = called.map_err(|error| guest::fault(&store, &error));
    (told, guest::traces(&mut store))
}

macro_rules! told {
    ($prepared:ident, $store:ident, $instance:ident, $interface:ident . $function:ident ( $($argument:expr),* ) => $told:ident) => {
        match &$prepared.indices.$interface {
            Some(indices) => {
                let interface = indices.load(&mut *$store, $instance)?;
                Told::$told(interface.$function(&mut *$store, $($argument),*)?)
            }
            None => Told::Absent(stringify!($interface).into()),
        }
    };
}

fn dispatch(p: &Prepared, s: &mut Store<Guest>, i: &Instance, ask: &Ask) -> wasmtime::Result<Told> {
    Ok(match ask {
        Ask::Describe => return describe(p, s, i),
        Ask::Start(ctx, name, answers) => told!(p, s, i, sessions.call_start(ctx, name, answers) => Session),
        Ask::Authorize(ctx, of, answers) => told!(p, s, i, payments.call_authorize(ctx, of, answers) => Payment),
        Ask::PaymentStatus(ctx, of, answers) => told!(p, s, i, payments.call_status(ctx, of, answers) => Status),
        Ask::Resume(ctx, original, of, returned, answers) => {
            told!(p, s, i, actions.call_resume(ctx, original, of, returned, answers) => Payment)
        }
        Ask::Capture(ctx, of, amount, is_final, answers) => {
            told!(p, s, i, captures.call_capture(ctx, of, amount, *is_final, answers) => FollowUp)
        }
        Ask::Cancel(ctx, of, answers) => told!(p, s, i, captures.call_cancel(ctx, of, answers) => FollowUp),
        Ask::CaptureStatus(ctx, of, answers) => told!(p, s, i, captures.call_status(ctx, of, answers) => FollowUp),
        Ask::Refund(ctx, of, amount, reason, answers) => {
            told!(p, s, i, refunds.call_refund(ctx, of, amount, reason.as_deref(), answers) => FollowUp)
        }
        Ask::RefundStatus(ctx, of, answers) => told!(p, s, i, refunds.call_status(ctx, of, answers) => FollowUp),
        Ask::Reverse(ctx, of, answers) => told!(p, s, i, reversals.call_reverse(ctx, of, answers) => FollowUp),
        Ask::ReverseStatus(ctx, of, answers) => told!(p, s, i, reversals.call_status(ctx, of, answers) => FollowUp),
        Ask::Quote(ctx, inquiry, answers) => told!(p, s, i, exchange.call_quote(ctx, inquiry, answers) => Quoted),
        Ask::Convert(ctx, of, answers) => told!(p, s, i, exchange.call_convert(ctx, of, answers) => Converted),
        Ask::ConvertStatus(ctx, of, answers) => told!(p, s, i, exchange.call_status(ctx, of, answers) => Converted),
        Ask::Pay(ctx, payout, answers) => told!(p, s, i, payouts.call_pay(ctx, payout, answers) => Paid),
        Ask::PayoutStatus(ctx, of, answers) => told!(p, s, i, payouts.call_status(ctx, of, answers) => Paid),
        Ask::Poll(ctx, cursor, answers) => told!(p, s, i, feeds.call_poll(ctx, cursor, answers) => Page),
        Ask::Receive(ctx, it) => told!(p, s, i, notifications.call_receive(ctx, it, &[]) => Received),
        Ask::Parse(ctx, piece, carry, is_last) => {
            told!(p, s, i, settlements.call_parse(ctx, piece, carry, *is_last) => Parsed)
        }
    })
}

/// Type-checks every interface besides: a changed record shows only here.
fn describe(prepared: &Prepared, store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<Told> {
    prepared.indices.load_all(store, instance)?;
    let Some(indices) = &prepared.indices.adapter else {
        return Err(wasmtime::Error::msg(
            "the component does not export portolan:channel/adapter@0.1.0",
        ));
    };
    let manifest = indices.load(&mut *store, instance)?.call_describe(store)?;
    Ok(Told::Manifest(Box::new(manifest)))
}
