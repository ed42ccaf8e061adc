//! From what a language's own compiler makes to a component: the world of a folder, and WASI's old names wrapped into its new ones.
//! Which compiler, and how, is each language's business.

use super::scaffold::OUT;
use anyhow::Context;
use std::path::Path;
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_component::ComponentEncoder;

/// The world that a folder's `wit/` is about.
pub fn world(folder: &Path) -> anyhow::Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let wit = folder.join("wit");
    let (package, _) = resolve.push_dir(&wit).with_context(|| wit.display().to_string())?;
    let world = resolve.select_world(&[package], Some("adapter"))?;
    Ok((resolve, world))
}

/// Makes the component out of the module of that name, which is taken away; `embed` puts the world into it, where it is not yet.
pub fn componentize(
    folder: &Path,
    core: &str,
    embed: impl FnOnce(&mut Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let core = folder.join(core);
    let mut module = std::fs::read(&core).with_context(|| core.display().to_string())?;
    embed(&mut module)?;
    let component = ComponentEncoder::default()
        .module(&module)?
        .adapter("wasi_snapshot_preview1", WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()?;
    std::fs::remove_file(core)?;
    std::fs::write(folder.join(OUT), component)?;
    Ok(())
}

/// Writes what is not there already: who watches the folder sees only what changed.
pub fn write_new(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(file).is_ok_and(|known| known == content) {
        return Ok(());
    }
    if let Some(into) = file.parent() {
        std::fs::create_dir_all(into)?;
    }
    std::fs::write(file, content).with_context(|| file.display().to_string())
}
