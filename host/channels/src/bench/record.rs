//! A journaled operation as a test vector, for whoever has to find out why it went as it did: without secrets, which the
//! journal never had, and without the payer.

use super::mask::{Mask, shape};
use super::{Answered, Vector};
use crate::abi::{Ask, asked};
use portolan_domain::exchange::{Answer, Exchange, RUN_OF_CHECKS, Reply};
use portolan_domain::operation::{Context, Operation};
use serde::Serialize;
use serde_json::Value;

/// Headers that adapters read; a reply has many more, and some say who asked.
const HEADERS: [&str; 8] = [
    "content-type",
    "date",
    "idempotent-replayed",
    "location",
    "retry-after",
    "request-time",
    "response-time",
    "www-authenticate",
];

/// The vectors of a payment's operations, in order, each with its operation's kind.
pub(crate) fn recorded(journal: &[(&Operation, &[Exchange])]) -> Result<Vec<Vector>, String> {
    let mut mask = Mask::new()?;
    let mut asks = vec![];
    for (operation, exchanges) in journal {
        let on_the_bench = Operation {
            context: of_the_bench(&operation.context),
            ..(*operation).clone()
        };
        let ask = asked(&on_the_bench, &operation.input, &[]).map_err(|fault| fault.to_string())?;
        let (function, input) = arguments(ask).ok_or("it has no vectors")?;
        let mut input = input.map_err(|error| error.to_string())?;
        if let ("refund", Some(Value::String(reason))) = (function, input.get_mut(2)) {
            // In the merchant's own words.
            *reason = shape(reason);
        }
        input.iter().for_each(|it| mask.note(it));
        asks.push((*operation, *exchanges, function, input));
    }
    let vector = |(operation, exchanges, function, input): (&Operation, &[Exchange], &str, Vec<Value>)| Vector {
        shows: format!("{} of a payment on {}", operation.kind.as_str(), operation.channel),
        function: function.into(),
        input: input.into_iter().map(|it| mask.value(it)).collect(),
        answers: answers(exchanges).map(|it| answered(it, &mask)).collect(),
        // Whatever it is, it is not judged here.
        idempotent_by: Some("as it was".into()),
        settings: Some(mask.text(&operation.context.settings)),
        now_ms: Some(operation.context.now_ms),
        expect: vec![],
    };
    Ok(asks.into_iter().map(vector).collect())
}

/// Handles of the bench instead of this router's.
fn of_the_bench(context: &Context) -> Context {
    Context {
        card_number: "handle-number".into(),
        card_code: context.card_code.as_ref().map(|_| "handle-code".into()),
        ..context.clone()
    }
}

/// The answers of the first run that was the operation's own: what was asked about it later is not recorded.
fn answers(exchanges: &[Exchange]) -> impl Iterator<Item = &Answer> {
    let own = exchanges.iter().filter(|it| it.run != RUN_OF_CHECKS);
    let first = own.clone().map(|it| it.run).min();
    own.filter(move |it| Some(it.run) == first)
        .filter_map(|it| it.answer.as_ref())
}

fn answered(answer: &Answer, mask: &Mask) -> Answered {
    match &answer.reply {
        Reply::NotSent(why) => Answered::NotSent(mask.text(why)),
        Reply::Unknown(why) => Answered::Unknown(mask.text(why)),
        Reply::Response(response) => {
            let kept = response.headers.iter();
            let kept = kept.filter(|(name, _)| HEADERS.contains(&name.to_ascii_lowercase().as_str()));
            let value = |value: &str| mask.text(value.split('?').next().unwrap_or_default());
            let headers = kept.map(|(name, it)| (name.clone(), value(it))).collect();
            let text = mask.text(&String::from_utf8_lossy(response.body.as_bytes()));
            let body = match serde_json::from_str::<Value>(&text) {
                Ok(json @ (Value::Object(_) | Value::Array(_))) => json,
                _ => Value::String(text),
            };
            Answered::ResponseWith(response.status, headers, body)
        }
    }
}

type Arguments = Result<Vec<Value>, serde_json::Error>;

macro_rules! list {
    ($($argument:expr),*) => { [$(value(&$argument)),*].into_iter().collect() };
}

fn value<T: Serialize>(of: &T) -> Result<Value, serde_json::Error> {
    serde_json::to_value(of)
}

/// A vector's word for the function, and its arguments.
fn arguments(ask: Ask) -> Option<(&'static str, Arguments)> {
    Some(match ask {
        Ask::Start(_, name, _) => ("start", list![name]),
        Ask::Authorize(_, of, _) => ("authorize", list![of]),
        Ask::PaymentStatus(_, of, _) => ("status", list![of]),
        Ask::Resume(_, original, of, returned, _) => ("resume", list![original, of, returned]),
        Ask::Capture(_, of, amount, is_final, _) => ("capture", list![of, amount, is_final]),
        Ask::Cancel(_, of, _) => ("cancel", list![of]),
        Ask::CaptureStatus(_, of, _) => ("capture-status", list![of]),
        Ask::Refund(_, of, amount, reason, _) => ("refund", list![of, amount, reason]),
        Ask::RefundStatus(_, of, _) => ("refund-status", list![of]),
        Ask::Reverse(_, of, _) => ("reverse", list![of]),
        Ask::ReverseStatus(_, of, _) => ("reverse-status", list![of]),
        Ask::Quote(_, inquiry, _) => ("quote", list![inquiry]),
        Ask::Convert(_, of, _) => ("convert", list![of]),
        Ask::ConvertStatus(_, of, _) => ("exchange-status", list![of]),
        Ask::Pay(_, payout, _) => ("pay", list![payout]),
        Ask::PayoutStatus(_, of, _) => ("payouts-status", list![of]),
        Ask::Poll(_, cursor, _) => ("poll", list![cursor]),
        Ask::Describe | Ask::Receive(..) | Ask::Parse(..) => return None,
    })
}
