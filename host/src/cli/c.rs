//! Adapters in C: the contract's bindings for the folder, and the component around what Zig's C compiler makes of `provider.c`. Nothing
//! but Zig has to be installed; it brings WASI's C library.

use super::core_module::{componentize, world, write_new};
use super::scaffold::{WIT, done};
use anyhow::bail;
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_bindgen_core::Files;

/// By this file a folder is known as one in C.
pub const SOURCE: &str = "provider.c";
/// Where the bindings go.
const BINDINGS: &str = "bindings";
/// A stack of 256 KiB: Zig's own is 16 MiB, in every call.
const STACK: &str = "-Wl,-z,stack-size=262144";
/// What the compiler makes.
const CORE: &str = ".core.wasm";

/// Makes the component of a folder.
pub fn build(folder: &Path) -> anyhow::Result<()> {
    let (compiler, before) = compiler()?;
    for (file, text) in WIT {
        write_new(&folder.join("wit/deps/channel").join(file), text.as_bytes())?;
    }
    let (mut resolve, world) = world(folder)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)?;
    let mut sources = vec![];
    for (name, content) in files.iter() {
        let file = format!("{BINDINGS}/{name}");
        write_new(&folder.join(&file), content)?;
        sources.extend((!name.ends_with(".h")).then_some(file));
    }
    let words = [
        "cc",
        "-target",
        "wasm32-wasi",
        "-mexec-model=reactor",
        STACK,
        "-std=c17",
        "-Os",
        "-s",
        "-Wall",
        "-o",
        CORE,
        SOURCE,
    ];
    let words: Vec<&str> = before
        .iter()
        .copied()
        .chain(words)
        .chain(sources.iter().map(String::as_str))
        .collect();
    done(folder, &compiler, &words)?;
    // The bindings' object file has the world in it.
    componentize(folder, CORE, |_| Ok(()))
}

/// How Zig is called: by itself, or as a package of Python.
fn compiler() -> anyhow::Result<(PathBuf, &'static [&'static str])> {
    const WAYS: [(&str, &[&str]); 2] = [("zig", &[]), ("python3", &["-m", "ziglang"])];
    for (program, before) in WAYS {
        let asked = Command::new(program).args(before).arg("version").output();
        if asked.is_ok_and(|it| it.status.success()) {
            return Ok((program.into(), before));
        }
    }
    bail!(
        "there is no C compiler for WebAssembly here: zig, from https://ziglang.org/download or by `pip install ziglang`"
    )
}
