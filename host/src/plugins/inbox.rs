//! The watched folder: a component that is put into `<inbox>/<adapter>/` is staged, with its envelope beside it. It comes as
//! far as ready; who gets payments stays an operator's word.

use super::statement::Envelope;
use super::{Order, Plugins};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How often the folder is looked at.
const LOOK_EACH: Duration = Duration::from_secs(1);
/// A file that was written so lately may not be whole.
const AT_REST: Duration = Duration::from_secs(1);
/// Files that are looked at in one folder.
const FILES_MAX: usize = 1_000;

/// A file as it was taken: changed, it is another one.
type Taken = (PathBuf, SystemTime);

impl Plugins {
    /// Looks after the folder until told to stop.
    pub async fn watch_inbox(self: Arc<Self>, inbox: Option<PathBuf>, mut stopped: watch::Receiver<bool>) {
        let Some(inbox) = inbox else { return };
        let mut taken: HashSet<Taken> = HashSet::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EACH) => {}
                _ = stopped.changed() => return,
            }
            for source in &self.sources {
                for file in at_rest(&inbox.join(&source.name)) {
                    if taken.insert(file.clone()) {
                        self.take(&source.name, &file.0).await;
                    }
                }
            }
        }
    }

    async fn take(&self, adapter: &str, file: &Path) {
        let order = Order {
            by: "inbox".into(),
            reason: file.display().to_string(),
            ..Order::default()
        };
        let staged = match read(file) {
            Ok((bytes, envelope)) => self.stage(adapter, &bytes, envelope.as_ref(), &order).await,
            Err(error) => Err(error.into()),
        };
        match staged {
            Ok((version, _)) => {
                tracing::info!(adapter, file = %file.display(), digest = version.digest, stage = version.stage.as_str(), "taken from the inbox")
            }
            Err(error) => tracing::warn!(adapter, file = %file.display(), %error, "not taken from the inbox"),
        }
    }
}

fn read(file: &Path) -> std::io::Result<(Vec<u8>, Option<Envelope>)> {
    let bytes = std::fs::read(file)?;
    let mut name = file.as_os_str().to_owned();
    name.push(".dsse.json");
    let beside = PathBuf::from(name);
    let envelope = match beside.exists() {
        true => Some(serde_json::from_slice(&std::fs::read(beside)?)?),
        false => None,
    };
    Ok((bytes, envelope))
}

/// The components in a folder that nobody is writing any more.
fn at_rest(folder: &Path) -> Vec<Taken> {
    let entries = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .take(FILES_MAX);
    let file = |path: PathBuf| {
        let changed = path.metadata().and_then(|it| it.modified()).ok()?;
        let is_component = path.extension().is_some_and(|extension| extension == "wasm");
        let rests = changed.elapsed().is_ok_and(|age| age >= AT_REST);
        (is_component && rests).then_some((path, changed))
    };
    entries.filter_map(|entry| file(entry.path())).collect()
}
