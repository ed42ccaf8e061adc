//! `portolan approvals`: what of a merchant's has to be approved by its people, with passkeys, before it goes out.

use super::client::Client;
use super::say;
use crate::config::Config;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

#[derive(Subcommand)]
pub enum ApprovalsVerb {
    /// Say what has to be approved: payouts, and what goes on to a beneficiary. It counts at once, in the place of all that was said
    /// before: payouts wait until enough people are confirmed.
    Set {
        #[command(flatten)]
        owner: OwnerArgs,
        /// The domain that passkeys belong to: shop.example
        #[arg(long)]
        rp_id: String,
        /// A page's origin on it, where orders are approved: https://office.shop.example
        #[arg(long, required = true)]
        origin: Vec<String>,
        /// How many people approve an order: 1 to 3.
        #[arg(long)]
        people: u8,
        /// What needs no approval, in all on a day (UTC), in minor units: EUR=5000
        #[arg(long)]
        free: Vec<String>,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
    /// Nothing has to be approved from now on; who may approve stays.
    Lift {
        #[command(flatten)]
        owner: OwnerArgs,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
    /// Invite one of the merchant's people; the code is shown once.
    Invite {
        #[command(flatten)]
        owner: OwnerArgs,
        /// Their name.
        #[arg(long)]
        name: String,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
    /// Count the passkey that they brought, once they have told you its fingerprint themselves.
    Confirm {
        #[command(flatten)]
        owner: OwnerArgs,
        /// apr_…
        approver: String,
        /// How the fingerprint begins, 16 digits or more.
        #[arg(long)]
        key: String,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
    /// What they sign counts no more.
    Remove {
        #[command(flatten)]
        owner: OwnerArgs,
        /// apr_…
        approver: String,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
    /// Every merchant's.
    List,
}

#[derive(Args)]
pub struct OwnerArgs {
    /// Whose.
    #[arg(long)]
    merchant: String,
    /// test or live.
    #[arg(long)]
    mode: String,
}

impl OwnerArgs {
    fn path(&self) -> String {
        format!("/admin/approvals/{}/{}", self.merchant, self.mode)
    }
}

/// Does what was typed.
pub fn ask(config: &Config, verb: ApprovalsVerb) -> anyhow::Result<()> {
    let client = Client::new(config)?;
    let answer = match verb {
        ApprovalsVerb::Set {
            owner,
            rp_id,
            origin,
            people,
            free,
            by,
        } => {
            let terms = json!({ "rp_id": rp_id, "origins": origin, "people": people, "free": read(&free)? });
            client.post(&owner.path(), &json!({ "by": by, "terms": terms }))?
        }
        ApprovalsVerb::Lift { owner, by } => client.post(&format!("{}/lift", owner.path()), &json!({ "by": by }))?,
        ApprovalsVerb::Confirm {
            owner,
            approver,
            key,
            by,
        } => client.post(
            &format!("{}/confirm", owner.path()),
            &json!({ "by": by, "approver": approver, "key": key }),
        )?,
        ApprovalsVerb::Invite { owner, name, by } => {
            client.post(&format!("{}/invite", owner.path()), &json!({ "by": by, "name": name }))?
        }
        ApprovalsVerb::Remove { owner, approver, by } => client.post(
            &format!("{}/remove", owner.path()),
            &json!({ "by": by, "approver": approver }),
        )?,
        ApprovalsVerb::List => client.get("/admin/approvals")?,
    };
    say(&serde_json::to_string_pretty(&answer)?)
}

fn read(free: &[String]) -> anyhow::Result<Map<String, Value>> {
    let pair = |text: &String| {
        let (code, minor) = text
            .split_once('=')
            .with_context(|| format!("--free {text}: say EUR=5000"))?;
        let minor: u64 = minor
            .parse()
            .with_context(|| format!("--free {text}: whole minor units, 5000 is 50.00 EUR"))?;
        Ok((code.to_owned(), json!(minor)))
    };
    let read: Map<String, Value> = free.iter().map(pair).collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(read.len() == free.len(), "--free: name each currency once");
    Ok(read)
}
