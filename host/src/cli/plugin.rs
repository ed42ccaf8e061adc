//! `portolan plugin`: the operator's verbs, which call the running router, and the partner's, which need none.

use super::client::Client;
use super::say;
use super::scaffold::{self, Language};
use super::{dev, kit, shipping, tables};
use crate::config::Config;
use anyhow::Context;
use clap::{Args, Subcommand};
use portolan_channels::Bench;
use portolan_oci::Place;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum PluginVerb {
    /// Take a component in and bring it as far as ready.
    Stage {
        /// The adapter's configured name.
        adapter: String,
        /// The component: a file, or `oci://registry.example/acme/cards:1.2.0`.
        component: PathBuf,
        /// Its signed statement; `<component>.dsse.json` where that is there.
        #[arg(long)]
        envelope: Option<PathBuf>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// What a version is, asks for, and did.
    Inspect {
        /// The adapter's configured name.
        adapter: String,
        /// The beginning of its digest.
        digest: String,
    },
    /// Run a version beside live payments: nothing of it leaves; `inspect` shows what would have been different.
    Shadow(StepArgs),
    /// Run a version over the last operations and say what would have been different.
    Replay {
        /// The adapter's configured name.
        adapter: String,
        /// The beginning of its digest.
        digest: String,
        /// How many operations.
        #[arg(long, default_value_t = 1_000)]
        last: usize,
        /// JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Write down a payment's operations as test vectors for the adapter's partner: without secrets, the payer's data masked.
    Record {
        /// pay_… or po_…
        payment: String,
        /// The folder.
        #[arg(long, default_value = "recorded")]
        to: PathBuf,
    },
    /// Give a version a share of new payments.
    Canary {
        #[command(flatten)]
        step: StepArgs,
        /// Of a hundred payments so many, 1 to 50.
        #[arg(long)]
        percent: u8,
        /// After so many payments that went no worse it takes over by itself.
        #[arg(long)]
        takes_over_after: Option<u64>,
    },
    /// Let a version take all new payments.
    Activate(StepArgs),
    /// Take back the canary or the shadow; without one, go back to what was active before.
    Rollback {
        /// The adapter's configured name.
        adapter: String,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Unload a version that nothing needs any more.
    Retire(StepArgs),
    /// Stop a version at once, wherever it is: the one before it takes over.
    Reject(StepArgs),
    /// All versions.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Calls, faults, time, memory and bytes of each version since it was loaded.
    Top {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Who did what with an adapter's versions.
    History {
        /// The adapter's configured name.
        adapter: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a key pair to sign with: FILE (private, mode 0600) and FILE.pub.
    Keygen {
        /// The private key's file.
        file: PathBuf,
    },
    /// Sign a component: makes `<component>.dsse.json`, or adds a signature to it.
    Sign {
        /// The component.
        component: PathBuf,
        /// The private key, PEM.
        #[arg(long)]
        key: PathBuf,
        /// The key's name in the router's configuration.
        #[arg(long)]
        key_name: String,
        /// How long the statement holds; with it a new statement is made, which everybody has to sign. [default: 365]
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3650))]
        days: Option<u64>,
    },
    /// Push a component to an OCI registry, and what is signed about it as its referrer.
    Push {
        /// The component.
        component: PathBuf,
        /// `oci://registry.example/acme/cards:1.2.0`; the login is Docker's.
        place: Place,
        /// Its signed statement; `<component>.dsse.json` where that is there.
        #[arg(long)]
        envelope: Option<PathBuf>,
        /// Even if the tag names another component already.
        #[arg(long)]
        move_tag: bool,
    },
    /// Pull a component from an OCI registry, and what is signed about it: FILE and FILE.dsse.json.
    Pull {
        /// `oci://registry.example/acme/cards:1.2.0`, or with `@sha256:…` exactly one.
        place: Place,
        /// Where it goes.
        #[arg(long, default_value = "adapter.wasm")]
        to: PathBuf,
    },
    /// Make a folder that is an adapter already.
    New {
        /// The folder.
        folder: PathBuf,
        /// What it is written in.
        #[arg(long)]
        lang: Language,
        /// What it can besides payments: captures, refunds.
        #[arg(long, value_delimiter = ',', default_value = "payments")]
        can: Vec<String>,
        /// Its reverse-domain name.
        #[arg(long)]
        name: String,
    },
    /// Make the component of an adapter's folder: `adapter.wasm` in it.
    Build {
        /// The folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Watch an adapter's folder: at every save build it, run its vectors, and pay with it through a router of its own, whose
    /// provider answers as the vectors say.
    Dev {
        /// The folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Another router: the adapter's name in its configuration (`--config`).
        #[arg(long)]
        into: Option<String>,
        /// Only build and test: no router.
        #[arg(long, conflicts_with = "into")]
        no_router: bool,
        /// Once, now, instead of at every save.
        #[arg(long)]
        once: bool,
    },
    /// Put a folder's vectors into a component, so that routers run them before they take it. `build` does it by itself.
    Pack {
        /// The component.
        component: PathBuf,
        #[command(flatten)]
        with: VectorArgs,
    },
    /// Run test vectors over a component.
    Test {
        /// The component.
        component: PathBuf,
        #[command(flatten)]
        with: VectorArgs,
        /// Write down the steps that are seen.
        #[arg(long)]
        update: bool,
    },
    /// Try what providers and networks do on bad days, at every answer of every vector.
    Conform {
        /// The component.
        component: PathBuf,
        #[command(flatten)]
        with: VectorArgs,
    },
    /// What a call takes, vector by vector.
    Bench {
        /// The component.
        component: PathBuf,
        #[command(flatten)]
        with: VectorArgs,
        /// How long each vector is called.
        #[arg(long, default_value_t = 200)]
        each_ms: u64,
    },
    /// Look at a component as a router would: imports, exports, what it says and asks for.
    Check {
        /// The component.
        component: PathBuf,
    },
}

#[derive(Args)]
pub struct VectorArgs {
    /// The folder of the vectors.
    #[arg(long, default_value = "vectors")]
    vectors: PathBuf,
    /// A file with the channel's settings, JSON.
    #[arg(long)]
    settings: Option<PathBuf>,
}

impl VectorArgs {
    fn both(&self) -> (&Path, Option<&Path>) {
        (&self.vectors, self.settings.as_deref())
    }
}

#[derive(Args)]
pub struct StepArgs {
    /// The adapter's configured name.
    adapter: String,
    /// The beginning of the version's digest.
    digest: String,
    #[command(flatten)]
    order: OrderArgs,
}

#[derive(Args)]
pub struct OrderArgs {
    /// Who says so.
    #[arg(long, default_value = "operator")]
    pub by: String,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    /// An older version than the active one is meant.
    #[arg(long)]
    downgrade: bool,
}

impl OrderArgs {
    /// What a verb of ours says by itself.
    pub fn of(by: &str) -> Self {
        Self {
            by: by.to_owned(),
            reason: String::new(),
            dry_run: false,
            downgrade: true,
        }
    }

    pub fn json(&self) -> Value {
        json!({ "by": self.by, "reason": self.reason, "dry_run": self.dry_run, "downgrade": self.downgrade })
    }
}

/// The verbs that need no router.
pub fn offline(verb: &PluginVerb) -> Option<anyhow::Result<()>> {
    match verb {
        PluginVerb::Keygen { file } => Some(shipping::keygen(file)),
        PluginVerb::Sign {
            component,
            key,
            key_name,
            days,
        } => Some(shipping::sign(component, key, key_name, *days)),
        PluginVerb::Check { component } => Some(check(component)),
        PluginVerb::Push {
            component,
            place,
            envelope,
            move_tag,
        } => Some(shipping::push(component, place, envelope.clone(), *move_tag)),
        PluginVerb::Pull { place, to } => Some(shipping::pull(place, to)),
        PluginVerb::New {
            folder,
            lang,
            can,
            name,
        } => Some(scaffold::new(folder, *lang, can, name)),
        PluginVerb::Build { folder } => Some(scaffold::build(folder)),
        PluginVerb::Dev {
            folder,
            into: None,
            no_router,
            once,
        } => Some(dev::dev(
            folder,
            if *no_router { dev::To::Nowhere } else { dev::To::own() },
            *once,
        )),
        PluginVerb::Test {
            component,
            with,
            update,
        } => Some(kit::test(component, with.both(), *update)),
        PluginVerb::Pack { component, with } => Some(kit::pack(component, with.both())),
        PluginVerb::Conform { component, with } => Some(kit::conform(component, with.both())),
        PluginVerb::Bench {
            component,
            with,
            each_ms,
        } => Some(kit::bench(component, with.both(), *each_ms)),
        _ => None,
    }
}

/// Interfaces whose operations move money.
const MOVES: [&str; 5] = ["payments", "refunds", "reversals", "exchange", "payouts"];

/// The others.
pub fn ask(config: &Config, verb: PluginVerb) -> anyhow::Result<()> {
    let client = Client::new(config)?;
    let step = |name: &str, args: &StepArgs, more: &[(&str, Value)]| {
        let mut body = args.order.json();
        if let Some(fields) = body.as_object_mut() {
            fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        client.post(
            &format!("/admin/plugins/{}/versions/{}/{name}", args.adapter, args.digest),
            &body,
        )
    };
    let answer = match verb {
        PluginVerb::Stage {
            adapter,
            component,
            envelope,
            order,
        } => shipping::stage((&client, &config.signers), &adapter, &component, envelope, &order)?,
        PluginVerb::Dev { folder, into, once, .. } => {
            let to = into.map_or(dev::To::Nowhere, |adapter| dev::To::Router(client, adapter));
            return dev::dev(&folder, to, once);
        }
        PluginVerb::Inspect { adapter, digest } => {
            client.get(&format!("/admin/plugins/{adapter}/versions/{digest}"))?
        }
        PluginVerb::Shadow(args) => step("shadow", &args, &[])?,
        PluginVerb::Canary {
            step: args,
            percent,
            takes_over_after,
        } => step(
            "canary",
            &args,
            &[
                ("percent", json!(percent)),
                ("takes_over_after", json!(takes_over_after)),
            ],
        )?,
        PluginVerb::Activate(args) => step("activate", &args, &[])?,
        PluginVerb::Retire(args) => step("retire", &args, &[])?,
        PluginVerb::Reject(args) => step("reject", &args, &[])?,
        PluginVerb::Rollback { adapter, order } => {
            client.post(&format!("/admin/plugins/{adapter}/rollback"), &order.json())?
        }
        PluginVerb::Replay {
            adapter,
            digest,
            last,
            json,
        } => {
            let path = format!("/admin/plugins/{adapter}/versions/{digest}/replay");
            let answer = client.post(&path, &json!({ "last": last }))?;
            if json {
                answer.get("report").cloned().unwrap_or_default()
            } else {
                return say(answer.get("text").and_then(Value::as_str).unwrap_or_default());
            }
        }
        PluginVerb::Record { payment, to } => return record(&client, &payment, &to),
        PluginVerb::List { json } => {
            let answer = client.get("/admin/plugins")?;
            match json {
                true => answer,
                false => return say(&tables::versions(&answer)),
            }
        }
        PluginVerb::Top { json } => {
            let answer = client.get("/admin/plugins/top")?;
            match json {
                true => answer,
                false => return say(&tables::usage(&answer)),
            }
        }
        PluginVerb::History { adapter, json } => {
            let answer = client.get(&format!("/admin/plugins/{adapter}/history"))?;
            match json {
                true => answer,
                false => return say(&tables::history(&answer)),
            }
        }
        PluginVerb::Keygen { .. }
        | PluginVerb::Sign { .. }
        | PluginVerb::Check { .. }
        | PluginVerb::Push { .. }
        | PluginVerb::Pull { .. }
        | PluginVerb::New { .. }
        | PluginVerb::Build { .. }
        | PluginVerb::Pack { .. }
        | PluginVerb::Test { .. }
        | PluginVerb::Conform { .. }
        | PluginVerb::Bench { .. } => return Ok(()),
    };
    say(&serde_json::to_string_pretty(&answer)?)
}

fn record(client: &Client, payment: &str, to: &Path) -> anyhow::Result<()> {
    let answer = client.get(&format!("/admin/payments/{payment}/vectors"))?;
    let vectors = answer.get("vectors").and_then(Value::as_array).into_iter().flatten();
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    anyhow::ensure!(
        std::fs::read_dir(to)?.next().is_none(),
        "{} has files already: another case's would be handed on with this one; give an empty folder with --to",
        to.display()
    );
    for vector in vectors {
        let name = vector
            .get("name")
            .and_then(Value::as_str)
            .context("a vector without name")?;
        let file = to.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(vector.get("vector").context("no vector")?)?;
        std::fs::write(&file, format!("{text}\n")).with_context(|| file.display().to_string())?;
        say(&file.display().to_string())?;
    }
    say("read them before you hand them on: what a provider says of a payer in words of its own is not known here")
}

fn check(component: &Path) -> anyhow::Result<()> {
    let bench = Bench::load(component).map_err(anyhow::Error::msg)?;
    let described = bench.described();
    let vectors = match kit::packed_in(component)? {
        Some(many) => format!("{many} in it, which a router runs before it takes it"),
        None => "none in it; `portolan plugin pack` puts them in".into(),
    };
    let asks = described
        .asks
        .iter()
        .map(|ask| format!("  {ask}"))
        .collect::<Vec<_>>()
        .join("\n");
    say(&format!(
        "{} {}: {}\nsha256 {}\nmethods: {}\ncan: {}\n{}vectors: {vectors}\nasks for:\n{asks}",
        described.name,
        described.version,
        described.summary,
        described.digest,
        described.methods.join(", "),
        described.capabilities.join(", "),
        mismatches(&described.capabilities, bench.interfaces().1),
    ))
}

/// Capabilities that are said and not exported, and exported without a word about them.
fn mismatches(said: &[String], exports: &[String]) -> String {
    let short = |it: &String| Some(it.strip_prefix("portolan:channel/")?.split('@').next()?.to_owned());
    let exported: Vec<String> = exports.iter().filter_map(short).collect();
    let empty = said.iter().filter(|it| !exported.contains(it)).map(|it| {
        format!("warning: it says that it can {it}, and does not export the interface: nobody will ask it\n")
    });
    // Whether a request may go out again, and when one that is not found never will be, is said with the capability.
    let silent = exported
        .iter()
        .filter(|it| MOVES.contains(&it.as_str()) && !said.contains(it))
        .map(|it| {
            format!("warning: it exports {it} and names no such capability: nothing is sent again with the same key\n")
        });
    empty.chain(silent).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_said_and_what_is_exported_are_compared() {
        let words = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let exports = words(&["portolan:channel/payments@0.1.0", "portolan:channel/captures@0.1.0"]);
        assert_eq!(
            super::mismatches(&words(&["payments"]), &exports),
            "",
            "captures may be there for canceling alone"
        );
        let said = super::mismatches(&words(&["refunds"]), &exports);
        assert!(
            said.contains("it can refunds, and does not export") && said.contains("it exports payments and names"),
            "{said}"
        );
    }
}
