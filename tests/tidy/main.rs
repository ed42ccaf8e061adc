//! The rules of this repository, as tests: walls between crates, words, files, the frozen contract.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod contract;

use portolan_tests::workspace;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Files of these endings under a folder, without build output.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap().display().to_string()
}

fn sources() -> Vec<(String, String)> {
    files(&workspace(), ".rs")
        .iter()
        .map(|path| (shown(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The workspace dependencies of a crate, tests' own ones left out.
fn dependencies(folder: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join(folder).join("Cargo.toml")).unwrap();
    let section = text
        .split("[dependencies]")
        .nth(1)
        .unwrap_or_default()
        .split("\n[")
        .next()
        .unwrap_or_default();
    section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn one_crate_has_each_heavy_thing() {
    let manifests = files(&workspace(), "Cargo.toml");
    let walls = [
        ("wasmtime", vec!["host/channels"]),
        ("wasmtime-wasi", vec!["host/channels"]),
        ("rusqlite", vec!["host/storage", "tests/bench"]),
        // The wallet provider's simulator signs with keys of its own.
        ("aws-lc-rs", vec!["examples/wallet", "host/vault"]),
        ("cel", vec!["host/rules"]),
        ("rustls", vec!["host/egress", "host/oci", "host/storage"]),
        ("tokio-postgres", vec!["host/storage"]),
        ("tokio-rustls", vec!["host/egress"]),
        ("oci-client", vec!["host/oci"]),
    ];
    for (dependency, allowed) in walls {
        let mut having: Vec<String> = manifests
            .iter()
            .map(|path| shown(path.parent().unwrap()))
            .filter(|folder| !folder.is_empty() && dependencies(folder).iter().any(|name| name == dependency))
            .collect();
        having.sort();
        assert_eq!(having, allowed, "{dependency}");
    }
}

#[test]
fn siblings_meet_only_in_the_composition_root() {
    let ours = |folder: &str| -> Vec<String> {
        dependencies(folder)
            .into_iter()
            .filter(|name| name.starts_with("portolan"))
            .collect()
    };
    assert_eq!(ours("host/domain"), Vec::<String>::new());
    assert_eq!(ours("host/oci"), Vec::<String>::new());
    for sibling in ["host/engine", "host/storage", "host/rules", "host/vault", "host/egress"] {
        assert_eq!(ours(sibling), ["portolan-domain"], "{sibling}");
    }
    assert_eq!(ours("host/channels"), ["portolan-domain", "portolan-egress"]);
    for heavy in [
        "tokio",
        "hyper",
        "wasmtime",
        "rusqlite",
        "serde_json",
        "tracing",
        "dashmap",
    ] {
        assert!(
            !dependencies("host/domain").iter().any(|name| name == heavy),
            "domain has {heavy}"
        );
    }
    for folder in ["host", "host/channels", "host/engine"] {
        assert!(
            !dependencies(folder).iter().any(|name| name.ends_with("-adapter")),
            "{folder} depends on a plugin"
        );
    }
}

#[test]
fn domain_knows_no_clock_and_no_randomness() {
    for (file, text) in sources().iter().filter(|(file, _)| file.starts_with("host/domain/src")) {
        for word in [
            "SystemTime",
            "Instant",
            "now_v7",
            "new_v4",
            "std::fs",
            "std::net",
            "std::env",
        ] {
            assert!(!text.contains(word), "{file} has {word}");
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for (file, text) in sources() {
        assert!(
            text.starts_with("//!") || text.starts_with("//! "),
            "{file} does not open with //!"
        );
        assert!(!text.starts_with("//! placeholder"), "{file} is a placeholder");
    }
}

#[test]
fn unsafe_code_is_one_deserialize() {
    let word = ["unsafe", " {"].concat();
    let having: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.contains(&word))
        .map(|(file, _)| file)
        .collect();
    // The guest of the tests reads its own memory, inside the sandbox, to search it.
    let others = having
        .iter()
        .filter(|file| *file != "tests/guests/misbehaving/src/lib.rs");
    assert_eq!(others.collect::<Vec<_>>(), ["host/channels/src/artifact.rs"]);
}

#[test]
fn only_egress_reads_wire_bytes() {
    let word = ["expose", "_for_wire"].concat();
    let mut having: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.contains(&word))
        .map(|(file, _)| file)
        .collect();
    having.sort();
    // vault's own tests look at what it filled.
    assert_eq!(
        having,
        [
            "host/domain/src/wire.rs",
            "host/egress/src/client.rs",
            "host/vault/src/fill.rs"
        ]
    );
    let fill = std::fs::read_to_string(workspace().join("host/vault/src/fill.rs")).unwrap();
    assert!(!fill.split("#[cfg(test)]").next().unwrap().contains(&word));
}

#[test]
fn tests_neither_sleep_nor_ignore() {
    let words = [
        ["sleep", "("].concat(),
        ["#[ig", "nore"].concat(),
        ["#[should", "_panic"].concat(),
    ];
    for (file, text) in sources().iter().filter(|(file, _)| file.starts_with("tests/")) {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{file} has {word}");
        }
    }
}

/// `cargo xtask test` runs none: what would be shown there stands in a test, or in an adapter that is built.
#[test]
fn documentation_has_no_code_to_run() {
    for (path, text) in sources() {
        for begin in ["/**", "/*!", "~~~", "#[doc", "#![doc"] {
            let mut lines = text.lines().map(|line| line.trim_start_matches([' ', '/', '!']));
            let is_path = |line: &str| begin.starts_with("/*") && line.contains("/*\"");
            assert!(
                !lines.any(|line| line.starts_with(begin) && !is_path(line)),
                "{path}: {begin}"
            );
        }
        let fences = text.lines().map(str::trim_start).filter(|line| line.starts_with("//"));
        let mut fences = fences.filter(|line| line.trim_start_matches(['/', '!', ' ']).starts_with("```"));
        while let Some(begin) = fences.next() {
            let is_text = begin.ends_with("```text") || begin.ends_with("```json");
            assert!(is_text, "{path}: {begin}: examples in documentation are not run");
            fences.next();
        }
    }
}

#[test]
fn names_say_what_they_are() {
    for (file, _) in sources() {
        let stem = Path::new(&file).file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            !["utils", "helpers", "common", "misc", "util", "manager"].contains(&stem.as_str()),
            "{file}"
        );
    }
}

#[test]
fn nothing_is_left_open() {
    let words = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["un", "implemented!"].concat(),
        ["to", "do!("].concat(),
    ];
    for (file, text) in sources() {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{file} has {word}");
        }
    }
}

#[test]
fn a_released_contract_never_changes() {
    let frozen = std::fs::read_to_string(workspace().join("wit/FROZEN")).unwrap();
    let mut listed = 0;
    for line in frozen.lines() {
        let (digest, file) = line.split_once("  ").unwrap();
        let text = std::fs::read(workspace().join("wit").join(file)).unwrap();
        assert_eq!(
            hex::encode(Sha256::digest(&text)),
            digest,
            "{file} changed: add a new folder instead"
        );
        listed += 1;
    }
    assert_eq!(
        listed,
        files(&workspace().join("wit"), ".wit").len(),
        "every released file is frozen"
    );
}

#[test]
fn every_interface_of_the_contract_has_its_module_in_the_sdk() {
    let contract = std::fs::read_to_string(workspace().join("wit/0.1.0/channel.wit")).unwrap();
    let bindings = std::fs::read_to_string(workspace().join("plugins/sdk/src/bindings.rs")).unwrap();
    let export = std::fs::read_to_string(workspace().join("plugins/sdk/src/export.rs")).unwrap();
    let names = contract
        .lines()
        .filter_map(|line| line.strip_prefix("interface "))
        .filter_map(|line| line.split(' ').next());
    for name in names.filter(|name| !["types", "adapter", "keys", "log"].contains(name)) {
        assert!(
            bindings.contains(&format!("world sdk-{name}")),
            "{name} is not built alone"
        );
        assert!(export.contains(&format!("(@one {name},")), "{name} cannot be exported");
        assert!(
            contract.contains(&format!("  export {name};")),
            "{name} is not in the world with everything"
        );
    }
}
