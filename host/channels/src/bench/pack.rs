//! The vectors that a component brings along: a custom section, which the digest covers and so whatever is signed about it.

use super::Vector;
use crate::limits::Limits;
use serde::{Deserialize, Serialize};
use wasm_encoder::{CustomSection, Section};
use wasmparser::{Encoding, Parser, Payload};

/// The section's name.
const SECTION: &str = "portolan:vectors";
/// The longest section that is read.
const BYTES_MAX: usize = 4 << 20;
/// Vectors that are read.
const VECTORS_MAX: usize = 500;

/// A vector with its name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    /// Its file's name, without the ending.
    pub name: String,
    /// The vector.
    pub vector: Vector,
}

/// The component with these vectors in it, in place of those that it had.
pub fn pack(component: &[u8], vectors: &[Packed]) -> Result<Vec<u8>, String> {
    let section = serde_json::to_vec(vectors).map_err(|error| error.to_string())?;
    parse(&section)?;
    let mut packed = component.to_vec();
    for (_, range) in sections(component)?.into_iter().rev() {
        packed.drain(range);
    }
    CustomSection {
        name: SECTION.into(),
        data: section.into(),
    }
    .append_to(&mut packed);
    Ok(packed)
}

/// The section of vectors in a component, unread; `None`: it brings none.
pub fn packed(component: &[u8]) -> Result<Option<&[u8]>, String> {
    match sections(component)?.as_slice() {
        [] => Ok(None),
        [(data, _)] => Ok(Some(data)),
        more => Err(format!("{} sections of vectors", more.len())),
    }
}

/// What such a section says.
pub fn parse(section: &[u8]) -> Result<Vec<Packed>, String> {
    if section.len() > BYTES_MAX {
        return Err(format!(
            "{} bytes of vectors are more than the {BYTES_MAX} that are read",
            section.len()
        ));
    }
    let vectors: Vec<Packed> =
        serde_json::from_slice(section).map_err(|error| format!("its vectors cannot be read: {error}"))?;
    if vectors.is_empty() {
        return Err("it brings a list of no vectors".into());
    }
    let most = Limits::default().rounds;
    if let Some(long) = vectors.iter().find(|it| it.vector.answers.len() > most) {
        return Err(format!(
            "{} has more than the {most} answers that a router takes",
            long.name
        ));
    }
    if vectors.len() > VECTORS_MAX {
        return Err(format!(
            "{} vectors are more than the {VECTORS_MAX} that are run",
            vectors.len()
        ));
    }
    Ok(vectors)
}

type Sections<'a> = Vec<(&'a [u8], std::ops::Range<usize>)>;

/// Our sections of the component itself, not of what is nested in it: their content, and where they stand.
fn sections(component: &[u8]) -> Result<Sections<'_>, String> {
    let (mut found, mut parser, mut at) = (vec![], Parser::new(0), 0_usize);
    loop {
        let rest = component.get(at..).unwrap_or_default();
        let chunk = parser.parse(rest, true).map_err(|error| error.to_string())?;
        let wasmparser::Chunk::Parsed { consumed, payload } = chunk else {
            return Err("it is cut short".into());
        };
        let from = at;
        at = at.saturating_add(consumed);
        match payload {
            Payload::Version { encoding, .. } if encoding != Encoding::Component => {
                return Err("it is a core module, no component".into());
            }
            Payload::ModuleSection {
                unchecked_range: nested,
                ..
            }
            | Payload::ComponentSection {
                unchecked_range: nested,
                ..
            } => {
                at = nested.end;
            }
            Payload::CustomSection(section) if section.name() == SECTION => found.push((section.data(), from..at)),
            Payload::End(_) => return Ok(found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vector(shows: &str) -> Packed {
        let vector = json!({ "shows": shows, "function": "status", "input": [], "answers": [] });
        Packed {
            name: "one".into(),
            vector: serde_json::from_value(vector).unwrap(),
        }
    }

    fn shown(component: &[u8]) -> Vec<String> {
        let section = packed(component).unwrap().unwrap();
        parse(section).unwrap().into_iter().map(|it| it.vector.shows).collect()
    }

    #[test]
    fn vectors_are_replaced_and_nothing_else_is_touched() {
        // One of the name stands in the module too: that is the module's own.
        let text = r#"(component (core module (@custom "portolan:vectors" "[]") (func)) (component))"#;
        let plain = wat::parse_str(text).unwrap();
        assert!(packed(&plain).unwrap().is_none());
        let once = pack(&plain, &[vector("a")]).unwrap();
        assert_eq!(shown(&once), ["a"]);
        assert_eq!(once.get(..plain.len()), Some(plain.as_slice()));
        let twice = pack(&once, &[vector("b"), vector("c")]).unwrap();
        assert_eq!(shown(&twice), ["b", "c"]);
        assert_eq!(pack(&twice, &[vector("a")]).unwrap(), once);
        // In the middle of others.
        let mut around = once.clone();
        around.extend_from_slice(&[0, 3, 1, b'm', 7]);
        let again = pack(&around, &[vector("d")]).unwrap();
        assert_eq!(shown(&again), ["d"]);
        assert_eq!(
            again.get(plain.len()..plain.len() + 5),
            Some([0, 3, 1, b'm', 7].as_slice())
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let plain = wat::parse_str("(component)").unwrap();
        let mut two = pack(&plain, &[vector("a")]).unwrap();
        two.extend_from_slice(&pack(&plain, &[vector("a")]).unwrap()[plain.len()..]);
        assert!(packed(&two).unwrap_err().contains("2 sections"));
        assert!(packed(&two[..two.len() - 1]).is_err());
        assert!(
            packed(&wat::parse_str("(module)").unwrap())
                .unwrap_err()
                .contains("core module")
        );
        assert!(parse(b"{}").is_err());
        assert!(parse(b"[]").is_err_and(|it| it.contains("no vectors")));
        assert!(parse(&vec![b' '; BYTES_MAX + 1]).is_err_and(|it| it.contains("more than")));
        let many = serde_json::to_vec(&vec![vector("a"); VECTORS_MAX + 1]).unwrap();
        assert!(parse(&many).is_err_and(|it| it.contains("501 vectors")));
    }
}
