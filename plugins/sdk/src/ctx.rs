//! Replay: how a plain `async fn` becomes the contract's step function. It owns the one suspension point,
//! [`Ctx::send`]; it knows nothing of HTTP.

use crate::types::{Answer, Context, Fault, NoResponse, Request, Response};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::task::{Poll, Waker};

/// What an operation may know, and the way to ask the provider.
///
/// The operation is run from its start each time: [`Ctx::send`] returns the answers of earlier rounds at once, and at
/// the first request without an answer the call ends there. So everything before a `send` must be a pure function of
/// what came before it.
pub struct Ctx {
    /// The host's words for this operation: keys, settings, handles.
    pub context: Context,
    answers: RefCell<std::vec::IntoIter<Answer>>,
    now_ms: Cell<u64>,
    keys_used: Cell<usize>,
    next: RefCell<Option<Request>>,
}

/// How far an operation came in this call.
#[derive(Debug)]
pub enum Progress<T> {
    /// The host sends this and calls again with its answer.
    Send(Request),
    /// The operation's outcome.
    Done(T),
}

impl Ctx {
    /// Sends one request and waits for what came of it. `Err` says whether the provider can have seen it.
    pub async fn send(&self, request: Request) -> Result<Response, NoResponse> {
        let answer = self.answers.borrow_mut().next();
        match answer {
            Some(answer) => {
                self.now_ms.set(answer.at_ms);
                answer.reply
            }
            None => {
                *self.next.borrow_mut() = Some(request);
                std::future::pending().await
            }
        }
    }

    /// Milliseconds since 1970-01-01 UTC: of the last answer, or of the operation's start.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// The idempotency key for the next write of this operation. Each call takes the next one.
    pub fn next_key(&self) -> Result<String, Fault> {
        let n = self.keys_used.get();
        self.keys_used.set(n + 1);
        let key = self.context.keys.get(n).cloned();
        key.ok_or_else(|| Fault::Unsupported(format!("the host gave {n} idempotency keys, one more is needed")))
    }

    /// The handle of a granted secret or an open session.
    pub fn secret(&self, name: &str) -> Result<String, Fault> {
        let found = self.context.secrets.iter().find(|(known, _)| known == name);
        found
            .map(|(_, handle)| handle.clone())
            .ok_or_else(|| Fault::Misconfigured(format!("the channel has no secret named {name:?}")))
    }

    /// A setting of the channel, by JSON pointer.
    pub fn setting(&self, pointer: &str) -> Option<serde_json::Value> {
        let settings: serde_json::Value = serde_json::from_str(&self.context.settings).ok()?;
        settings.pointer(pointer).cloned()
    }
}

/// Runs `operation` over the answers so far. The future is polled once and dropped: its only way to wait is
/// [`Ctx::send`].
pub fn replay<T, E: From<Fault>, F: Future<Output = Result<T, E>>>(
    context: Context,
    answers: Vec<Answer>,
    operation: impl FnOnce(std::rc::Rc<Ctx>) -> F,
) -> Result<Progress<T>, E> {
    let ctx = std::rc::Rc::new(Ctx {
        now_ms: Cell::new(context.now_ms),
        context,
        answers: RefCell::new(answers.into_iter()),
        keys_used: Cell::new(0),
        next: RefCell::new(None),
    });
    let future = pin!(operation(ctx.clone()));
    match future.poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map(Progress::Done),
        Poll::Pending => match ctx.next.borrow_mut().take() {
            Some(request) => Ok(Progress::Send(request)),
            None => Err(Fault::Other("the adapter awaited something that is not ctx.send".into()).into()),
        },
    }
}
