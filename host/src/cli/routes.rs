//! `portolan routes`: merchants' rules as files (JSON, or TOML of the same shape), and how the channels are.

use super::client::Client;
use super::say;
use crate::config::Config;
use crate::simulate::{self, Size};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum RoutesVerb {
    /// Read a set and run its tests; nothing is put in force.
    Check(SetArgs),
    /// Put a set in force, as the merchant's next version.
    Put {
        #[command(flatten)]
        set: SetArgs,
        /// Who does.
        #[arg(long)]
        by: String,
    },
    /// A merchant's last 100 sets, the newest first: it is in force.
    List(OwnerArgs),
    /// What a set would change of the merchant's last payments.
    Replay {
        #[command(flatten)]
        set: SetArgs,
        /// How many payments.
        #[arg(long, default_value_t = 1_000)]
        last: usize,
    },
    /// Route in a market that drifts, breaks down and answers late, beside fixed orders, plain bandits and an oracle (offline).
    Simulate {
        /// How many markets.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// Payments in each.
        #[arg(long, default_value_t = 50_000)]
        payments: usize,
    },
    /// Let the card of a payment be tried again, that was declined for good or too often.
    Unblock {
        /// pay_…
        payment: String,
        /// Who decides.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// How each channel is, as the router has seen it since it started: well, failing, probing or stopped.
    Health,
}

#[derive(Args)]
pub struct OwnerArgs {
    /// Whose.
    #[arg(long)]
    merchant: String,
    /// test or live.
    #[arg(long, default_value = "test")]
    mode: String,
}

#[derive(Args)]
pub struct SetArgs {
    #[command(flatten)]
    owner: OwnerArgs,
    /// The file.
    file: PathBuf,
}

impl OwnerArgs {
    fn path(&self) -> String {
        format!("/admin/routes/{}/{}", self.merchant, self.mode)
    }
}

/// Does what needs no router, if it is that.
pub fn offline(verb: &RoutesVerb) -> Option<anyhow::Result<()>> {
    match verb {
        RoutesVerb::Simulate { seeds, payments } => {
            let size = Size {
                seeds: *seeds,
                payments: *payments,
            };
            let report = serde_json::to_string_pretty(&simulate::run(size));
            Some(report.map_err(anyhow::Error::from).and_then(|text| say(&text)))
        }
        RoutesVerb::Check(_)
        | RoutesVerb::Put { .. }
        | RoutesVerb::List(_)
        | RoutesVerb::Replay { .. }
        | RoutesVerb::Unblock { .. }
        | RoutesVerb::Health => None,
    }
}

/// Does what was typed.
pub fn ask(config: &Config, verb: RoutesVerb) -> anyhow::Result<()> {
    let client = Client::new(config)?;
    let answer = match verb {
        RoutesVerb::Check(set) => {
            let body = json!({ "by": "check", "set": read(&set.file)?, "dry_run": true });
            client.post(&set.owner.path(), &body)?
        }
        RoutesVerb::Put { set, by } => {
            let body = json!({ "by": by, "set": read(&set.file)? });
            client.post(&set.owner.path(), &body)?
        }
        RoutesVerb::List(owner) => client.get(&owner.path())?,
        RoutesVerb::Replay { set, last } => {
            client.post(&format!("{}/replay?last={last}", set.owner.path()), &read(&set.file)?)?
        }
        RoutesVerb::Simulate { .. } => return Ok(()),
        RoutesVerb::Unblock { payment, by, reason } => client.post(
            &format!("/admin/cards/{payment}/unblock"),
            &json!({ "by": by, "reason": reason }),
        )?,
        RoutesVerb::Health => client.get("/admin/channels/health")?,
    };
    say(&serde_json::to_string_pretty(&answer)?)
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let set = match file.extension().is_some_and(|it| it == "toml") {
        true => toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?,
        false => serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?,
    };
    Ok(set)
}
