//! JSON to and from the component model's values, by the function's own types: so one vector file runs whatever language
//! the component was written in. Names are as Rust's serde writes them: fields in snake_case, cases in PascalCase.

use serde_json::{Map, Value, json};
use wasmtime::component::{Type, Val};

/// `three_letters` or `ThreeLetters` to `three-letters`.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.trim_end_matches('_').chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            out.push('-');
        }
        out.push(if letter == '_' {
            '-'
        } else {
            letter.to_ascii_lowercase()
        });
    }
    out
}

/// Rust's bindings write `final` as `final_`.
fn snake(name: &str) -> String {
    match name {
        "final" | "type" | "ref" | "match" => format!("{name}_"),
        name => name.replace('-', "_"),
    }
}

fn pascal(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|it| it.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(word).collect()
}

/// The value of that type which the JSON says; the text names the place where it does not fit.
pub(super) fn from_json(kind: &Type, json: &Value, at: &str) -> Result<Val, String> {
    let wrong = |wanted: &str| format!("{at}: {wanted} is wanted, not {json}");
    let whole = || json.as_u64().ok_or_else(|| wrong("a whole number"));
    let fits = |_| wrong("a smaller number");
    Ok(match kind {
        Type::Bool => Val::Bool(json.as_bool().ok_or_else(|| wrong("true or false"))?),
        Type::U8 => Val::U8(u8::try_from(whole()?).map_err(fits)?),
        Type::U16 => Val::U16(u16::try_from(whole()?).map_err(fits)?),
        Type::U32 => Val::U32(u32::try_from(whole()?).map_err(fits)?),
        Type::U64 => Val::U64(whole()?),
        Type::String => Val::String(json.as_str().ok_or_else(|| wrong("a text"))?.to_owned()),
        Type::List(list) => {
            let items = json.as_array().ok_or_else(|| wrong("a list"))?;
            let item = |(n, item): (usize, &Value)| from_json(&list.ty(), item, &format!("{at}/{n}"));
            Val::List(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        Type::Tuple(tuple) => {
            let items = json.as_array().ok_or_else(|| wrong("a list"))?;
            let mut values = vec![];
            for (n, kind) in tuple.types().enumerate() {
                let item = items.get(n).ok_or_else(|| wrong("a longer list"))?;
                values.push(from_json(&kind, item, &format!("{at}/{n}"))?);
            }
            Val::Tuple(values)
        }
        Type::Record(record) => {
            let fields = json.as_object().ok_or_else(|| wrong("an object"))?;
            let known: Vec<String> = record.fields().map(|field| snake(field.name)).collect();
            if let Some(unknown) = fields.keys().find(|name| !known.contains(&snake(&kebab(name)))) {
                return Err(format!("{at}/{unknown}: there is no such field"));
            }
            let mut values = vec![];
            for field in record.fields() {
                let value = fields.get(&snake(field.name)).or_else(|| fields.get(field.name));
                let value = value.unwrap_or(&Value::Null);
                let value = from_json(&field.ty, value, &format!("{at}/{}", snake(field.name)))?;
                values.push((field.name.to_owned(), value));
            }
            Val::Record(values)
        }
        Type::Variant(variant) => {
            let (name, payload) = case(json).ok_or_else(|| wrong("a case"))?;
            let found = variant.cases().find(|it| it.name == kebab(name));
            let found = found.ok_or_else(|| format!("{at}: there is no case {name:?}"))?;
            let payload = match &found.ty {
                Some(kind) => Some(Box::new(from_json(kind, payload, &format!("{at}/{name}"))?)),
                None => None,
            };
            Val::Variant(found.name.to_owned(), payload)
        }
        Type::Enum(names) => {
            let name = kebab(json.as_str().ok_or_else(|| wrong("a name"))?);
            if !names.names().any(|known| known == name) {
                return Err(format!("{at}: there is no {name:?}"));
            }
            Val::Enum(name)
        }
        Type::Option(option) => Val::Option(match json {
            Value::Null => None,
            some => Some(Box::new(from_json(&option.ty(), some, at)?)),
        }),
        Type::Result(result) => {
            let (name, payload) = case(json).ok_or_else(|| wrong("Ok or Err"))?;
            let value = |kind: Option<Type>| kind.map(|kind| from_json(&kind, payload, at).map(Box::new)).transpose();
            Val::Result(match name {
                "Ok" => Ok(value(result.ok())?),
                "Err" => Err(value(result.err())?),
                _ => return Err(wrong("Ok or Err")),
            })
        }
        _ => return Err(format!("{at}: the contract has no such type")),
    })
}

/// A case as serde writes it: its name alone, or an object with it as the one field.
fn case(json: &Value) -> Option<(&str, &Value)> {
    match json {
        Value::String(name) => Some((name, &Value::Null)),
        Value::Object(fields) if fields.len() == 1 => fields.iter().next().map(|(name, value)| (name.as_str(), value)),
        _ => None,
    }
}

/// What a value is in JSON.
pub(super) fn to_json(value: &Val) -> Value {
    match value {
        Val::Bool(it) => json!(it),
        Val::U8(it) => json!(it),
        Val::U16(it) => json!(it),
        Val::U32(it) => json!(it),
        Val::U64(it) => json!(it),
        Val::String(it) => json!(it),
        Val::List(items) | Val::Tuple(items) => items.iter().map(to_json).collect(),
        Val::Record(fields) => {
            let fields = fields.iter().map(|(name, value)| (snake(name), to_json(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Val::Variant(name, None) | Val::Enum(name) => json!(pascal(name)),
        Val::Variant(name, Some(payload)) => json!({ pascal(name): to_json(payload) }),
        Val::Option(it) => it.as_ref().map_or(Value::Null, |it| to_json(it)),
        Val::Result(Ok(it)) => json!({ "Ok": it.as_ref().map(|it| to_json(it)) }),
        Val::Result(Err(it)) => json!({ "Err": it.as_ref().map(|it| to_json(it)) }),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for name in ["card", "do-not-honour", "transfer-to", "iso-status", "final"] {
            assert_eq!(kebab(&pascal(name)), name);
            assert_eq!(kebab(&snake(name)), name);
        }
    }
}
