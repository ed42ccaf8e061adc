//! `portolan plugin new` and `build`: a folder that is an adapter already, in the partner's language, and the tool of that
//! language that makes a component of it. Everything the folder needs of this repository is in the binary; the tools come
//! pinned from their registries, once.

use super::{c, go, kit, say};
use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an adapter is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Language {
    /// wit-bindgen, wasm32-wasip2.
    Rust,
    /// QuickJS.
    #[value(alias = "js")]
    Javascript,
    /// CPython.
    #[value(alias = "py")]
    Python,
    /// Go's own compiler.
    Go,
}

/// What a template can do besides payments.
const MORE: [&str; 2] = ["captures", "refunds"];
/// The component, in every language.
pub const OUT: &str = "adapter.wasm";

macro_rules! embedded {
    ($($name:literal => $file:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("../../../", $file)))),+] };
}

/// The contract, as a folder has it.
pub const WIT: &[(&str, &str)] = embedded!("channel.wit" => "wit/0.1.0/channel.wit");

const VECTORS: &[(&str, &str)] = embedded!(
    "approved.json" => "plugins/templates/vectors/approved.json",
    "declined.json" => "plugins/templates/vectors/declined.json",
    "declined-unknown-code.json" => "plugins/templates/vectors/declined-unknown-code.json",
    "timeout.json" => "plugins/templates/vectors/timeout.json",
    "server-error.json" => "plugins/templates/vectors/server-error.json",
    "status.json" => "plugins/templates/vectors/status.json",
    "status-not-found.json" => "plugins/templates/vectors/status-not-found.json",
    "held.json" => "plugins/templates/vectors/held.json",
    "status-held.json" => "plugins/templates/vectors/status-held.json",
    "status-voided.json" => "plugins/templates/vectors/status-voided.json",
    "capture.json" => "plugins/templates/vectors/capture.json",
    "capture-status.json" => "plugins/templates/vectors/capture-status.json",
    "cancel.json" => "plugins/templates/vectors/cancel.json",
    "cancel-status.json" => "plugins/templates/vectors/cancel-status.json",
    "refund.json" => "plugins/templates/vectors/refund.json",
    "refund-status.json" => "plugins/templates/vectors/refund-status.json",
);

const RUST_SDK: &[(&str, &str)] = embedded!(
    "amount.rs" => "plugins/sdk/src/amount.rs",
    "authentication.rs" => "plugins/sdk/src/authentication.rs",
    "bindings.rs" => "plugins/sdk/src/bindings.rs",
    "capability.rs" => "plugins/sdk/src/capability.rs",
    "ctx.rs" => "plugins/sdk/src/ctx.rs",
    "decline.rs" => "plugins/sdk/src/decline.rs",
    "dispute.rs" => "plugins/sdk/src/dispute.rs",
    "export.rs" => "plugins/sdk/src/export.rs",
    "keys.rs" => "plugins/sdk/src/keys.rs",
    "lib.rs" => "plugins/sdk/src/lib.rs",
    "reply.rs" => "plugins/sdk/src/reply.rs",
    "request.rs" => "plugins/sdk/src/request.rs",
    "testkit.rs" => "plugins/sdk/src/testkit.rs",
);

const RUST_TEMPLATE: &str = include_str!("../../../plugins/templates/rust/lib.rs");
const JAVASCRIPT_TEMPLATE: &str = include_str!("../../../plugins/templates/javascript/adapter.js");
const JAVASCRIPT_SDK: &str = include_str!("../../../plugins/sdk-javascript/portolan.js");
const PYTHON_TEMPLATE: &str = include_str!("../../../plugins/templates/python/app.py");
const PYTHON_SDK: &str = include_str!("../../../plugins/sdk-python/portolan.py");

const GO_TEMPLATE: &str = include_str!("../../../plugins/templates/go/adapter.go");
const GO_SDK: &str = include_str!("../../../plugins/sdk-go/portolan.go");

const RUST_MANIFEST: &str = r#"[package]
name = "adapter"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
portolan-adapter = { path = "vendor/portolan-adapter" }

[profile.release]
opt-level = "s"
lto = true
strip = true

[workspace]
"#;

const SDK_MANIFEST: &str = r#"[package]
name = "portolan-adapter"
version = "0.1.0"
edition = "2024"
license = "Apache-2.0"

[dependencies]
serde = { version = "1", features = ["derive"] }
serde_json = { version = "1", features = ["preserve_order", "raw_value"] }
time = { version = "0.3", default-features = false }
wit-bindgen = { version = "0.61", default-features = false, features = ["macros", "realloc"] }

[target.'cfg(not(target_family = "wasm"))'.dependencies]
bip32 = { version = "0.6", default-features = false, features = ["alloc", "secp256k1"] }
k256 = { version = "0.14", default-features = false, features = ["ecdsa", "std"] }
"#;

const PACKAGE: &str = r#"{
  "private": true,
  "type": "module",
  "devDependencies": { "componentize-qjs": "0.4.5" }
}
"#;

const REQUIREMENTS: &str = "componentize-py==0.25.1\n";

/// Keeps what stands between `can: x y` and `end` where x or y is wanted, and takes the marks out.
fn chosen(template: &str, can: &[String], name: &str) -> String {
    let mut out = String::new();
    let mut is_kept = true;
    for line in template.lines() {
        let mark = line.trim().trim_start_matches(['/', '#', ' ']);
        if let Some(what) = mark.strip_prefix("can: ").filter(|_| !line.contains("/*")) {
            is_kept = what.split_whitespace().any(|it| can.iter().any(|can| can == it));
        } else if mark == "end" {
            is_kept = true;
        } else if is_kept {
            out.push_str(&inline(line, can));
            out.push('\n');
        }
    }
    out.replace("NAME", name)
}

/// The same inside of a line: `/* can: x */ … /* end */`.
fn inline(line: &str, can: &[String]) -> String {
    let Some((before, rest)) = line.split_once(" /* can: ") else {
        return line.to_owned();
    };
    let Some((what, rest)) = rest.split_once(" */") else {
        return line.to_owned();
    };
    let (kept, after) = rest.split_once(" /* end */").unwrap_or((rest, ""));
    let kept = if can.iter().any(|it| it == what) { kept } else { "" };
    format!("{before}{kept}{}", inline(after, can))
}

fn world(can: &[String]) -> String {
    let exports = std::iter::once("payments").chain(can.iter().map(String::as_str).filter(|it| *it != "payments"));
    let exports: String = exports
        .map(|it| format!("  export portolan:channel/{it}@0.1.0;\n"))
        .collect();
    format!("package partner:adapter;\n\nworld adapter {{\n  include portolan:channel/base@0.1.0;\n{exports}}}\n")
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let file = folder.join(name);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    std::fs::write(&file, text).with_context(|| file.display().to_string())
}

/// Makes the folder.
pub fn new(folder: &Path, language: Language, can: &[String], name: &str) -> anyhow::Result<()> {
    ensure!(!folder.exists(), "{} exists already", folder.display());
    let is_name = name.contains('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte));
    ensure!(
        is_name,
        "--name {name:?}: a reverse-domain name in lower case, as com.acme.cards"
    );
    if let Some(unknown) = can.iter().find(|it| *it != "payments" && !MORE.contains(&it.as_str())) {
        bail!(
            "--can {unknown}: the templates know payments and {}; the contract's other interfaces are written by hand",
            MORE.join(", ")
        );
    }
    for (file, text) in VECTORS {
        let of = match file.split(['-', '.']).next() {
            Some("refund") => "refunds",
            Some("capture" | "cancel" | "held") => "captures",
            _ if matches!(*file, "status-held.json" | "status-voided.json") => "captures",
            _ => "payments",
        };
        if of == "payments" || can.iter().any(|it| it == of) {
            write(folder, &format!("vectors/{file}"), text)?;
        }
    }
    let contract = match language {
        Language::Rust => "wit/0.1.0",
        Language::Javascript | Language::Python | Language::Go => "wit/deps/channel",
    };
    for (file, text) in WIT {
        write(folder, &format!("{contract}/{file}"), text)?;
    }
    match language {
        Language::Rust => {
            write(folder, "Cargo.toml", RUST_MANIFEST)?;
            write(folder, "src/lib.rs", &chosen(RUST_TEMPLATE, can, name))?;
            write(folder, "vendor/portolan-adapter/Cargo.toml", SDK_MANIFEST)?;
            for (file, text) in RUST_SDK {
                write(folder, &format!("vendor/portolan-adapter/src/{file}"), text)?;
            }
        }
        Language::Javascript => {
            write(folder, "package.json", PACKAGE)?;
            write(folder, "wit/world.wit", &world(can))?;
            write(folder, "portolan.js", JAVASCRIPT_SDK)?;
            write(folder, "adapter.js", &chosen(JAVASCRIPT_TEMPLATE, can, name))?;
        }
        Language::Python => {
            write(folder, "requirements.txt", REQUIREMENTS)?;
            write(folder, "wit/world.wit", &world(can))?;
            write(folder, "portolan.py", PYTHON_SDK)?;
            write(folder, "app.py", &chosen(PYTHON_TEMPLATE, can, name))?;
        }
        Language::Go => {
            write(folder, "go.mod", go::MODULE)?;
            write(folder, "wit/world.wit", &world(can))?;
            write(folder, "portolan/portolan.go", GO_SDK)?;
            write(folder, "adapter/adapter.go", &chosen(GO_TEMPLATE, can, name))?;
        }
    }
    let made = if language == Language::Go { go::MADE } else { "" };
    let ignored = format!("target/\nnode_modules/\n.venv/\nadapter.wasm\n{made}");
    write(folder, ".gitignore", &ignored)?;
    let at = folder.display();
    say(&format!(
        "{at} is an adapter already, for a made-up provider: portolan plugin dev {at} builds it, tests it and pays with it at every save"
    ))
}

pub fn done(folder: &Path, program: &Path, words: &[&str]) -> anyhow::Result<()> {
    let out = Command::new(program)
        .args(words)
        .current_dir(folder)
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(
        out.status.success(),
        "{} {} failed:\n{}\n{}",
        program.display(),
        words.join(" "),
        said(&out.stdout),
        said(&out.stderr)
    );
    Ok(())
}

/// Makes the component of a folder: `adapter.wasm` in it.
pub fn build(folder: &Path) -> anyhow::Result<()> {
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let has = |name: &str| folder.join(name).exists();
    let vectors = folder.join("vectors");
    if vectors.is_dir() {
        // Before anything is built: what cannot be put into it is not found out afterwards.
        kit::vectors(&vectors, None)?;
    }
    if has("Cargo.toml") {
        let target = "wasm32-wasip2";
        done(
            &folder,
            Path::new("cargo"),
            &["build", "--release", "--quiet", "--target", target],
        )
        .context("the target comes with: rustup target add wasm32-wasip2")?;
        // Where cargo was told to build, if it was.
        let into = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("target"), PathBuf::from);
        let built = into.join(target).join("release/adapter.wasm");
        std::fs::copy(&built, folder.join(OUT)).with_context(|| built.display().to_string())?;
    } else if has("package.json") {
        let tool = "node_modules/componentize-qjs/cli.mjs";
        if !has(tool) {
            done(
                &folder,
                Path::new("npm"),
                &["install", "--silent", "--no-fund", "--no-audit"],
            )?;
        }
        let words = [
            tool,
            "--wit",
            "wit",
            "--js",
            "adapter.js",
            "--output",
            OUT,
            "--sync",
            "--stub-wasi",
        ];
        done(&folder, Path::new("node"), &words)?;
    } else if has("requirements.txt") {
        let tool = PathBuf::from(".venv/bin/componentize-py");
        if !folder.join(&tool).exists() {
            done(&folder, Path::new("python3"), &["-m", "venv", ".venv"])?;
            done(
                &folder,
                &folder.join(".venv/bin/pip"),
                &["install", "--quiet", "--requirement", "requirements.txt"],
            )?;
        }
        let words = [
            "--wit-path",
            "wit",
            "--world",
            "adapter",
            "componentize",
            "app",
            "--output",
            OUT,
            "--stub-wasi",
        ];
        done(&folder, &folder.join(tool), &words)?;
    } else if has("go.mod") {
        go::build(&folder)?;
    } else if has(c::SOURCE) {
        c::build(&folder)?;
    } else {
        bail!(
            "{} is no adapter: neither Cargo.toml, package.json, requirements.txt, go.mod nor provider.c",
            folder.display()
        );
    }
    if vectors.is_dir() {
        kit::pack(&folder.join(OUT), (&vectors, None))?;
    }
    let size = std::fs::metadata(folder.join(OUT))?.len();
    say(&format!("{}: {} KiB", folder.join(OUT).display(), size / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_keeps_what_is_wanted() {
        let template = "a\n// can: captures refunds\nb\n// end\nc(x /* can: captures */, y /* end */ /* can: refunds */, z /* end */);\nNAME\n";
        let with = |can: &[&str]| {
            chosen(
                template,
                &can.iter().map(|it| (*it).into()).collect::<Vec<_>>(),
                "com.acme",
            )
        };
        assert_eq!(with(&["refunds"]), "a\nb\nc(x, z);\ncom.acme\n");
        assert_eq!(with(&["captures", "refunds"]), "a\nb\nc(x, y, z);\ncom.acme\n");
        assert_eq!(with(&[]), "a\nc(x);\ncom.acme\n");
    }
}
