//! The bridge from the traits of `capability.rs` to the generated exports. It owns the replay of each call and the
//! panic hook.

use crate::bindings as b;
use crate::types::{Answer, Context, Fault, Target};
use crate::{Ctx, Progress, replay};
use std::future::Future;
use std::rc::Rc;

/// Exports an adapter's capabilities:
/// `export_channel!(MyAdapter: adapter, payments, captures, refunds);`
#[macro_export]
macro_rules! export_channel {
    ($adapter:ident: $($capability:ident),+ $(,)?) => {
        // Natively, in vector tests, there is nobody to export to.
        $(#[cfg(target_family = "wasm")] $crate::export_channel!(@one $capability, $adapter);)+
    };
    (@one adapter, $a:ident) => { $crate::bindings::base::export_adapter!($a with_types_in $crate::bindings::base); };
    (@one sessions, $a:ident) => { $crate::bindings::sessions::export_sessions!($a with_types_in $crate::bindings::sessions); };
    (@one payments, $a:ident) => { $crate::bindings::payments::export_payments!($a with_types_in $crate::bindings::payments); };
    (@one actions, $a:ident) => { $crate::bindings::actions::export_actions!($a with_types_in $crate::bindings::actions); };
    (@one captures, $a:ident) => { $crate::bindings::captures::export_captures!($a with_types_in $crate::bindings::captures); };
    (@one refunds, $a:ident) => { $crate::bindings::refunds::export_refunds!($a with_types_in $crate::bindings::refunds); };
    (@one reversals, $a:ident) => { $crate::bindings::reversals::export_reversals!($a with_types_in $crate::bindings::reversals); };
    (@one payouts, $a:ident) => { $crate::bindings::payouts::export_payouts!($a with_types_in $crate::bindings::payouts); };
    (@one exchange, $a:ident) => { $crate::bindings::exchange::export_exchange!($a with_types_in $crate::bindings::exchange); };
    (@one notifications, $a:ident) => { $crate::bindings::notifications::export_notifications!($a with_types_in $crate::bindings::notifications); };
    (@one feeds, $a:ident) => { $crate::bindings::feeds::export_feeds!($a with_types_in $crate::bindings::feeds); };
    (@one settlements, $a:ident) => { $crate::bindings::settlements::export_settlements!($a with_types_in $crate::bindings::settlements); };
}

/// Sends a panic's text to the operation's log before the instance dies; the host puts it into the fault.
pub fn report_panics() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        let end = text.floor_char_boundary(500);
        let text = text.get(..end).unwrap_or_default();
        b::base::portolan::channel::log::line(b::base::portolan::channel::log::Level::Warn, &format!("panic: {text}"));
    }));
}

fn run<T, E: From<Fault>, F: Future<Output = Result<T, E>>>(
    context: Context,
    answers: Vec<Answer>,
    operation: impl FnOnce(Rc<Ctx>) -> F,
) -> Result<Progress<T>, E> {
    report_panics();
    replay(context, answers, operation)
}

impl From<Fault> for crate::notifications::Rejection {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unsupported(text) => Self::Unsupported(text),
            Fault::Invalid((field, why)) => Self::Malformed(format!("{field}: {why}")),
            Fault::Protocol(text) => Self::Malformed(text),
            Fault::Misconfigured(text) => Self::Misconfigured(text),
            Fault::StaleSession(text) | Fault::Other(text) => Self::Other(text),
        }
    }
}

impl<T: crate::Adapter> b::base::exports::portolan::channel::adapter::Guest for T {
    fn describe() -> crate::types::Manifest {
        report_panics();
        T::describe()
    }
}

macro_rules! step {
    ($module:ident, $step:ident, $context:ident, $answers:ident, |$ctx:ident| $call:expr) => {
        match run($context, $answers, |$ctx| async move { $call.await })? {
            Progress::Send(request) => Ok(b::$module::exports::portolan::channel::$module::$step::Send(request)),
            Progress::Done(outcome) => Ok(b::$module::exports::portolan::channel::$module::$step::Done(outcome)),
        }
    };
}

mod sessions {
    use super::*;
    use b::sessions::exports::portolan::channel::sessions::{Guest, Step};
    impl<T: crate::Sessions> Guest for T {
        fn start(context: Context, name: String, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(sessions, Step, context, answers, |ctx| T::start(&ctx, name))
        }
    }
}

mod payments {
    use super::*;
    use b::payments::exports::portolan::channel::payments::{Authorization, Guest, StatusStep, Step};
    impl<T: crate::Payments> Guest for T {
        fn authorize(context: Context, request: Authorization, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(payments, Step, context, answers, |ctx| T::authorize(&ctx, request))
        }
        fn status(context: Context, of: Target, answers: Vec<Answer>) -> Result<StatusStep, Fault> {
            step!(payments, StatusStep, context, answers, |ctx| T::status(&ctx, of))
        }
    }
    impl<T: crate::Actions> b::actions::exports::portolan::channel::actions::Guest for T {
        fn resume(
            context: Context,
            original: Authorization,
            of: Target,
            returned: Vec<(String, String)>,
            answers: Vec<Answer>,
        ) -> Result<Step, Fault> {
            step!(payments, Step, context, answers, |ctx| T::resume(
                &ctx, original, of, returned
            ))
        }
    }
}

mod captures {
    use super::*;
    use crate::types::Money;
    use b::captures::exports::portolan::channel::captures::{Guest, Step};
    impl<T: crate::Captures> Guest for T {
        fn capture(c: Context, of: Target, amount: Money, is_final: bool, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(captures, Step, c, answers, |ctx| T::capture(&ctx, of, amount, is_final))
        }
        fn cancel(context: Context, of: Target, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(captures, Step, context, answers, |ctx| T::cancel(&ctx, of))
        }
        fn status(context: Context, of: Target, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(captures, Step, context, answers, |ctx| <T as crate::Captures>::status(
                &ctx, of
            ))
        }
    }
    impl<T: crate::Refunds> b::refunds::exports::portolan::channel::refunds::Guest for T {
        fn refund(
            context: Context,
            of: Target,
            amount: Money,
            reason: Option<String>,
            answers: Vec<Answer>,
        ) -> Result<Step, Fault> {
            step!(captures, Step, context, answers, |ctx| T::refund(
                &ctx, of, amount, reason
            ))
        }
        fn status(context: Context, of: Target, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(captures, Step, context, answers, |ctx| <T as crate::Refunds>::status(
                &ctx, of
            ))
        }
    }
    impl<T: crate::Reversals> b::reversals::exports::portolan::channel::reversals::Guest for T {
        fn reverse(context: Context, of: Target, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(captures, Step, context, answers, |ctx| T::reverse(&ctx, of))
        }
        fn status(context: Context, of: Target, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(captures, Step, context, answers, |ctx| <T as crate::Reversals>::status(
                &ctx, of
            ))
        }
    }
}

mod payouts {
    use super::*;
    use b::payouts::exports::portolan::channel::payouts::{Guest, Payout, Step};
    impl<T: crate::Payouts> Guest for T {
        fn pay(context: Context, request: Payout, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(payouts, Step, context, answers, |ctx| T::pay(&ctx, request))
        }
        fn status(context: Context, of: Target, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(payouts, Step, context, answers, |ctx| <T as crate::Payouts>::status(
                &ctx, of
            ))
        }
    }
}

mod exchange {
    use super::*;
    use b::exchange::exports::portolan::channel::exchange::{Conversion, Guest, Inquiry, QuoteStep, Step};
    impl<T: crate::Exchange> Guest for T {
        fn quote(context: Context, request: Inquiry, answers: Vec<Answer>) -> Result<QuoteStep, Fault> {
            step!(exchange, QuoteStep, context, answers, |ctx| T::quote(&ctx, request))
        }
        fn convert(context: Context, request: Conversion, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(exchange, Step, context, answers, |ctx| T::convert(&ctx, request))
        }
        fn status(context: Context, of: Target, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(exchange, Step, context, answers, |ctx| <T as crate::Exchange>::status(
                &ctx, of
            ))
        }
    }
}

mod notifications {
    use super::*;
    use b::notifications::exports::portolan::channel::notifications::{Guest, Notification, Rejection, Step};
    impl<T: crate::Notifications> Guest for T {
        fn receive(context: Context, n: Notification, answers: Vec<Answer>) -> Result<Step, Rejection> {
            step!(notifications, Step, context, answers, |ctx| T::receive(&ctx, n))
        }
    }
}

mod feeds {
    use super::*;
    use b::feeds::exports::portolan::channel::feeds::{Guest, Step};
    impl<T: crate::Feeds> Guest for T {
        fn poll(context: Context, cursor: Vec<u8>, answers: Vec<Answer>) -> Result<Step, Fault> {
            step!(feeds, Step, context, answers, |ctx| T::poll(&ctx, cursor))
        }
    }
}

mod settlements {
    use super::*;
    use b::settlements::exports::portolan::channel::settlements::{Guest, Parsed};
    impl<T: crate::Settlements> Guest for T {
        fn parse(context: Context, piece: Vec<u8>, carry: Vec<u8>, last: bool) -> Result<Parsed, Fault> {
            let parsed = run(context, vec![], |ctx| async move { T::parse(&ctx, piece, carry, last) })?;
            match parsed {
                Progress::Done(parsed) => Ok(parsed),
                Progress::Send(_) => Err(Fault::Other("parsing a report sends nothing".into())),
            }
        }
    }
}
