//! The partner's kit: vectors, attacks and costs of one compiled component, without a router.

use super::say;
use anyhow::{Context, ensure};
use portolan_channels::{Answered, Bench, Packed, Vector, difference};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The vectors of a folder, by file. `settings`: a file with the channel's settings, for those that say none.
pub fn vectors(folder: &Path, settings: Option<&Path>) -> anyhow::Result<Vec<(PathBuf, Vector)>> {
    let settings = settings
        .map(std::fs::read_to_string)
        .transpose()
        .context("the settings")?;
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read(&path)?;
            let mut vector: Vector = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
            vector.settings = vector.settings.or_else(|| settings.clone());
            all.push((path, vector));
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    ensure!(!all.is_empty(), "{} has no vectors", folder.display());
    Ok(all)
}

/// Puts the vectors of a folder into the component, in place of those that it brought.
pub fn pack(component: &Path, from: (&Path, Option<&Path>)) -> anyhow::Result<()> {
    let named = |(path, vector): (PathBuf, Vector)| Packed {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        vector,
    };
    let vectors: Vec<Packed> = vectors(from.0, from.1)?.into_iter().map(named).collect();
    let bytes = std::fs::read(component).with_context(|| component.display().to_string())?;
    let packed = portolan_channels::pack(&bytes, &vectors);
    let packed = packed.map_err(|problem| anyhow::anyhow!("{}: {problem}", component.display()))?;
    std::fs::write(component, packed)?;
    say(&format!("{}: {} vectors in it", component.display(), vectors.len()))
}

/// How many vectors a component brings.
pub fn packed_in(component: &Path) -> anyhow::Result<Option<usize>> {
    let bytes = std::fs::read(component).with_context(|| component.display().to_string())?;
    let section = portolan_channels::packed(&bytes).map_err(anyhow::Error::msg)?;
    let vectors = section.map(portolan_channels::parse_packed).transpose();
    Ok(vectors.map_err(anyhow::Error::msg)?.map(|it| it.len()))
}

/// A component, compiled here.
pub fn load(component: &Path) -> anyhow::Result<Bench> {
    Bench::load(component).map_err(anyhow::Error::msg)
}

/// A fault that no provider caused: the adapter's own.
fn is_mistake(step: &Value) -> bool {
    step.pointer("/fault/Other").is_some()
}

/// Runs the vectors; `update` writes down the steps that were seen.
pub fn test(component: &Path, with: (&Path, Option<&Path>), update: bool) -> anyhow::Result<()> {
    hold(&load(component)?, component, with, update)
}

/// The same for one that is on the bench.
pub fn hold(
    bench: &Bench,
    component: &Path,
    (folder, settings): (&Path, Option<&Path>),
    update: bool,
) -> anyhow::Result<()> {
    let (mut good, mut bad) = (0_usize, vec![]);
    for (path, mut vector) in vectors(folder, settings)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match bench.run(&vector) {
            Err(problem) => bad.push(format!("{name} ({}): {problem}", vector.shows)),
            Ok(steps) if update && steps.iter().any(is_mistake) => {
                bad.push(format!(
                    "{name} ({}): a mistake is not written down: {}",
                    vector.shows,
                    Value::from(steps)
                ));
            }
            Ok(steps) if update => {
                vector.expect = steps;
                if settings.is_some() {
                    vector.settings = None;
                }
                std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&vector)?))?;
                good = good.saturating_add(1);
            }
            Ok(steps) if steps == vector.expect => good = good.saturating_add(1),
            Ok(steps) => bad.push(format!(
                "{name} ({}): {}",
                vector.shows,
                difference(&vector.expect, &steps)
            )),
        }
    }
    for problem in &bad {
        say(problem)?;
    }
    if update && bad.is_empty() && packed_in(component)?.is_some() {
        pack(component, (folder, settings))?;
    }
    say(&format!("{good} vectors good, {} not", bad.len()))?;
    ensure!(bad.is_empty(), "the vectors do not hold");
    Ok(())
}

/// Tries everything that providers and networks do on bad days, at every answer of every vector.
pub fn conform(component: &Path, with: (&Path, Option<&Path>)) -> anyhow::Result<()> {
    withstand(&load(component)?, with)
}

/// The same for one that is on the bench.
pub fn withstand(bench: &Bench, (folder, settings): (&Path, Option<&Path>)) -> anyhow::Result<()> {
    let (mut attacks, mut found) = (0_usize, 0_usize);
    for (path, vector) in vectors(folder, settings)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (tried, findings) = bench
            .attack(&vector)
            .map_err(|problem| anyhow::anyhow!("{name}: {problem}"))?;
        attacks = attacks.saturating_add(tried);
        found = found.saturating_add(findings.len());
        for it in findings {
            say(&format!("{name}, answer {}, {}: {}", it.at, it.attack, it.problem))?;
        }
    }
    say(&format!("{attacks} attacks, {found} findings"))?;
    ensure!(found == 0, "the adapter does not conform");
    Ok(())
}

/// Calls each vector's function with all its answers for a while, and says what a call takes.
pub fn bench(component: &Path, (folder, settings): (&Path, Option<&Path>), each_ms: u64) -> anyhow::Result<()> {
    let bench = load(component)?;
    for (path, vector) in vectors(folder, settings)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let answers: &[Answered] = &vector.answers;
        let until = Instant::now() + Duration::from_millis(each_ms);
        let mut took = vec![];
        while Instant::now() < until || took.is_empty() {
            let started = Instant::now();
            bench.call(&vector, answers).map_err(anyhow::Error::msg)?;
            took.push(started.elapsed());
        }
        took.sort_unstable();
        let at = |percent: usize| {
            took.get(took.len().saturating_sub(1).saturating_mul(percent) / 100)
                .map_or(0, Duration::as_micros)
        };
        say(&format!(
            "{name}: {} µs (median), {} µs (p99), {} calls",
            at(50),
            at(99),
            took.len()
        ))?;
    }
    let usage = bench.usage();
    say(&format!("at most {} KiB of memory in a call", usage.memory_peak / 1024))
}
