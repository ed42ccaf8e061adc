//! The contract's reference, made of the contract: `UPDATE_EXPECT=1` writes it, the test holds it to be of today.

use portolan_tests::workspace;
use std::fmt::Write;
use wit_parser::{Docs, Function, Interface, Resolve, Type, TypeDefKind, TypeId, TypeOwner};

const HEAD: &str = "# The contract, word by word\n\nMade of [channel.wit](0.1.0/channel.wit) by `UPDATE_EXPECT=1 cargo test -p portolan-tests \
                    --test tidy`; [README.md](README.md) has its rules. Rust's SDK writes `snake_case`, Python's too, JavaScript's `camelCase`; \
                    vectors write `snake_case`, and cases in `PascalCase`.\n";

#[test]
fn its_reference_is_of_today() {
    let mut resolve = Resolve::default();
    let text = std::fs::read_to_string(workspace().join("wit/0.1.0/channel.wit")).unwrap();
    resolve.push_source("channel.wit", &text).unwrap();
    let made = reference(&resolve);
    let file = workspace().join("wit/REFERENCE.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == made,
        "wit/REFERENCE.md is not of today: UPDATE_EXPECT=1 writes it"
    );
}

fn reference(resolve: &Resolve) -> String {
    let mut out = HEAD.to_owned();
    let interfaces = resolve.interfaces.iter().map(|(_, it)| it);
    let own: Vec<&Interface> = interfaces.filter(|it| it.name.is_some()).collect();
    let links: Vec<String> = own.iter().map(|it| format!("[{0}](#{0})", name(it))).collect();
    writeln!(out, "\n{}\n", links.join(" · ")).unwrap();
    for interface in own {
        writeln!(out, "## {}\n", name(interface)).unwrap();
        paragraph(&mut out, &interface.docs);
        for function in interface.functions.values() {
            writeln!(out, "```wit\n{}\n```\n", signature(resolve, function)).unwrap();
            paragraph(&mut out, &function.docs);
        }
        for (name, id) in &interface.types {
            described(resolve, &mut out, (name, *id));
        }
    }
    out.trim_end().to_owned() + "\n"
}

fn name(interface: &Interface) -> &str {
    interface.name.as_deref().unwrap_or_default()
}

fn line(docs: &Docs) -> String {
    let text = docs.contents.as_deref().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn paragraph(out: &mut String, docs: &Docs) {
    let text = line(docs);
    if !text.is_empty() {
        writeln!(out, "{text}\n").unwrap();
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let given = function
        .params
        .iter()
        .map(|it| format!("{}: {}", it.name, shown(resolve, &it.ty)));
    let given = given.collect::<Vec<_>>().join(", ");
    let back = function.result.as_ref().map(|it| format!(" -> {}", shown(resolve, it)));
    format!("{}: func({given}){}", function.name, back.unwrap_or_default())
}

/// A type of the interface itself: a heading, and a row for each field or case.
fn described(resolve: &Resolve, out: &mut String, (name, id): (&str, TypeId)) {
    let found = &resolve.types[id];
    let rows: Vec<(String, String, String)> = match &found.kind {
        TypeDefKind::Record(record) => {
            let row = |it: &wit_parser::Field| (it.name.clone(), shown(resolve, &it.ty), line(&it.docs));
            record.fields.iter().map(row).collect()
        }
        TypeDefKind::Variant(variant) => {
            let of = |it: &wit_parser::Case| it.ty.as_ref().map(|it| shown(resolve, it)).unwrap_or_default();
            let row = |it: &wit_parser::Case| (it.name.clone(), of(it), line(&it.docs));
            variant.cases.iter().map(row).collect()
        }
        TypeDefKind::Enum(names) => {
            let row = |it: &wit_parser::EnumCase| (it.name.clone(), String::new(), line(&it.docs));
            names.cases.iter().map(row).collect()
        }
        // Another interface's type, under a name of this one.
        TypeDefKind::Type(Type::Id(of)) if is_elsewhere(resolve, (id, *of)) => return,
        other => {
            let text = kind(resolve, other);
            writeln!(out, "### {name}\n\n`{text}`\n").unwrap();
            return paragraph(out, &found.docs);
        }
    };
    writeln!(out, "### {name}\n\n*{}*\n", found.kind.as_str()).unwrap();
    paragraph(out, &found.docs);
    writeln!(out, "| | | |\n|---|---|---|").unwrap();
    for (name, of, docs) in rows {
        let of = if of.is_empty() { of } else { format!("`{of}`") };
        writeln!(out, "| `{name}` | {of} | {docs} |").unwrap();
    }
    writeln!(out).unwrap();
}

fn is_elsewhere(resolve: &Resolve, (one, other): (TypeId, TypeId)) -> bool {
    match (resolve.types[one].owner, resolve.types[other].owner) {
        (TypeOwner::Interface(one), TypeOwner::Interface(other)) => one != other,
        _ => false,
    }
}

fn shown(resolve: &Resolve, of: &Type) -> String {
    let text = match of {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S32 => "s32",
        Type::String => "string",
        Type::Id(id) => {
            let found = &resolve.types[*id];
            return found.name.clone().unwrap_or_else(|| kind(resolve, &found.kind));
        }
        other => panic!("{other:?} has no word here yet"),
    };
    text.to_owned()
}

fn kind(resolve: &Resolve, of: &TypeDefKind) -> String {
    let of_option = |it: &Option<Type>| it.as_ref().map_or_else(|| "_".to_owned(), |it| shown(resolve, it));
    match of {
        TypeDefKind::Option(it) => format!("option<{}>", shown(resolve, it)),
        TypeDefKind::List(it) => format!("list<{}>", shown(resolve, it)),
        TypeDefKind::Result(it) => format!("result<{}, {}>", of_option(&it.ok), of_option(&it.err)),
        TypeDefKind::Tuple(it) => {
            let parts: Vec<String> = it.types.iter().map(|it| shown(resolve, it)).collect();
            format!("tuple<{}>", parts.join(", "))
        }
        TypeDefKind::Type(it) => shown(resolve, it),
        other => other.as_str().to_owned(),
    }
}
