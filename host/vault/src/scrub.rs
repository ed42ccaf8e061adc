//! Taking out of a reply what was filled into a request, before guest, journal or log see it.

use crate::fill::{form_text, replace};
use crate::secrets::LocalVault;
use portolan_domain::ids::ChannelId;
use portolan_domain::ports::{Fill, Meaning, Method};
use zeroize::Zeroizing;

/// Shorter values cannot be told from ordinary text.
const SHORTEST: usize = 8;

/// Names under which providers repeat a security code, which is too short to be found by value.
const CODE_FIELDS: [&str; 8] = [
    "cvc",
    "cvv",
    "cvv2",
    "cvc2",
    "security_code",
    "securitycode",
    "card_code",
    "cid",
];

/// What may stand in a reply, in every form that is looked for, with the handle that takes its place.
struct Trace<'a> {
    form: Zeroizing<Vec<u8>>,
    handle: &'a str,
}

pub(crate) fn scrub(
    vault: &LocalVault,
    channel: &ChannelId,
    texts: Vec<Vec<u8>>,
    fills: &[Fill],
    card: Option<&Method>,
) -> Vec<Vec<u8>> {
    let mut traces = vec![];
    for fill in fills.iter().filter(|fill| fill.meaning != Meaning::CardCode) {
        let value = vault.value(channel, &fill.meaning, card);
        if let Some(value) = value.filter(|value| value.len() >= SHORTEST) {
            add_traces(&mut traces, fill, value);
        }
    }
    texts.into_iter().map(|text| without(text, &traces)).collect()
}

fn add_traces<'a>(traces: &mut Vec<Trace<'a>>, fill: &'a Fill, value: Zeroizing<Vec<u8>>) {
    let mut add = |form: Zeroizing<Vec<u8>>| {
        traces.push(Trace {
            form,
            handle: &fill.handle,
        });
    };
    let encoded = form_text(&value);
    if *encoded != *value {
        add(encoded);
    }
    if fill.meaning == Meaning::CardNumber {
        for separator in [b' ', b'-'] {
            add(Zeroizing::new(grouped(&value, separator)));
        }
    }
    add(value);
}

fn without(text: Vec<u8>, traces: &[Trace<'_>]) -> Vec<u8> {
    let mut text = Zeroizing::new(text);
    for trace in traces {
        text = replace(text, &trace.form, trace.handle.as_bytes());
    }
    remove_codes(text)
}

/// A card number in groups of four.
fn grouped(number: &[u8], separator: u8) -> Vec<u8> {
    number.chunks(4).collect::<Vec<_>>().join(&separator)
}

fn remove_codes(mut text: Zeroizing<Vec<u8>>) -> Vec<u8> {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let may_hold = CODE_FIELDS
        .iter()
        .any(|field| memchr::memmem::find(&lower, field.as_bytes()).is_some());
    if !may_hold {
        return std::mem::take(&mut *text);
    }
    match serde_json::from_slice::<serde_json::Value>(&text) {
        Ok(mut parsed) => {
            blank_codes(&mut parsed);
            parsed.to_string().into_bytes()
        }
        Err(_) => std::mem::take(&mut *text),
    }
}

fn blank_codes(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let is_code = CODE_FIELDS.contains(&name.to_ascii_lowercase().as_str());
                if is_code && (value.is_string() || value.is_number()) {
                    *value = serde_json::Value::String("removed".into());
                }
                blank_codes(value);
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(blank_codes),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}
