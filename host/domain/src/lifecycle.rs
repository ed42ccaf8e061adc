//! The life of an adapter's versions: which stage follows which, and what one step of an operator, or of the router
//! itself, makes of all versions of an adapter. Pure; loading components is the channels crate's business.

pub mod canary;

use serde::{Deserialize, Serialize};

/// How far a version is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The file is here.
    Staged,
    /// Size, digest and signatures are right.
    Verified,
    /// Compiled, instantiated once, says what its statement says: it could take payments.
    Ready,
    /// It is run over what others did, and sends nothing.
    Shadow,
    /// It takes a share of new payments.
    Canary,
    /// It takes new payments.
    Active,
    /// It takes none any more; its operations go on in it.
    Draining,
    /// It is not loaded any more.
    Retired,
    /// It is not allowed to run; the reason stands with it.
    Rejected,
}

/// What is done to a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It comes in again.
    Stage,
    /// Its origin was proven.
    Verify,
    /// It was compiled and tried.
    Admit,
    /// It runs beside.
    Shadow,
    /// It gets a share, or another one.
    Canary,
    /// It takes over.
    Activate,
    /// Another one took over.
    Supersede,
    /// It goes back.
    RollBack,
    /// It is not needed any more.
    Retire,
    /// It may not run, from now on.
    Reject,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 9] = [
        Self::Staged,
        Self::Verified,
        Self::Ready,
        Self::Shadow,
        Self::Canary,
        Self::Active,
        Self::Draining,
        Self::Retired,
        Self::Rejected,
    ];

    /// The word in API, CLI and store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Verified => "verified",
            Self::Ready => "ready",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Retired => "retired",
            Self::Rejected => "rejected",
        }
    }

    /// Whether its component is loaded.
    pub fn is_loaded(self) -> bool {
        match self {
            Self::Ready | Self::Shadow | Self::Canary | Self::Active | Self::Draining => true,
            Self::Staged | Self::Verified | Self::Retired | Self::Rejected => false,
        }
    }

    /// The stage after a step; `None`: that step is not for this stage.
    pub const fn after(self, step: Step) -> Option<Self> {
        use Step as D;
        Some(match (self, step) {
            (Self::Retired | Self::Rejected, D::Stage) => Self::Staged,
            (Self::Staged, D::Verify) => Self::Verified,
            (Self::Verified, D::Admit) => Self::Ready,
            (Self::Ready, D::Shadow) => Self::Shadow,
            (Self::Ready | Self::Shadow | Self::Canary, D::Canary) => Self::Canary,
            (Self::Ready | Self::Shadow | Self::Canary | Self::Draining, D::Activate) => Self::Active,
            (Self::Active, D::Supersede) => Self::Draining,
            (Self::Shadow | Self::Canary, D::RollBack) => Self::Ready,
            (Self::Staged | Self::Verified | Self::Ready | Self::Draining, D::Retire) => Self::Retired,
            (
                Self::Staged
                | Self::Verified
                | Self::Ready
                | Self::Shadow
                | Self::Canary
                | Self::Active
                | Self::Draining,
                D::Reject,
            ) => Self::Rejected,
            (
                _,
                D::Stage
                | D::Verify
                | D::Admit
                | D::Shadow
                | D::Canary
                | D::Activate
                | D::Supersede
                | D::RollBack
                | D::Retire
                | D::Reject,
            ) => return None,
        })
    }
}

/// The share of a canary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Of a hundred payments so many, chosen by the payment's id.
    pub percent: u8,
    /// After so many payments that went no worse it takes over by itself; `None`: an operator decides.
    pub takes_over_after: Option<u64>,
}

/// A version of an adapter, named by the digest of its component.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The adapter's configured name.
    pub adapter: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// What the adapter calls itself; empty until it was asked.
    pub name: String,
    /// Its semantic version.
    pub version: String,
    /// The memo formats that it reads.
    pub reads_memo: Vec<u16>,
    /// How far it is.
    pub stage: Stage,
    /// Its share, while it is a canary.
    pub share: Option<Share>,
    /// Who signed it: key names, each with its role.
    pub signers: Vec<String>,
    /// Why it is where it is.
    pub reason: String,
    /// When it came in.
    pub staged_ms: u64,
    /// When it came to its stage.
    pub changed_ms: u64,
    /// When it last became active.
    pub activated_ms: Option<u64>,
    /// Whether an operator went back from it, and nobody made it active since.
    #[serde(default)]
    pub was_left: bool,
}

/// Why a step is not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StepRefusal {
    /// There is no such version.
    #[error("the adapter {0} has no version {1}: `portolan plugin list` shows what is there")]
    Unknown(String, String),
    /// There is no such adapter.
    #[error("there is no adapter {0}: `portolan plugin list` shows what is there")]
    NoAdapter(String),
    /// The beginning of the digest is that of several.
    #[error("{0} is the beginning of several digests: give more of it")]
    Ambiguous(String),
    /// Not from there.
    #[error("{0} is {stage}: {hint}", stage = .1.as_str(), hint = hint(*.1, *.2))]
    Stage(String, Stage, Step),
    /// Two canaries at once say nothing about either.
    #[error("{0} is the canary already: activate it or roll it back first")]
    OtherCanary(String),
    /// A share that is none.
    #[error("a canary's share is 1 to 50 percent, not {0}")]
    Share(u8),
    /// Too few payments show nothing.
    #[error("takes_over_after {0}: less than {least} payments show nothing", least = canary::BASELINE_MIN)]
    TooFew(u64),
    /// Nothing to go back to.
    #[error("the adapter {0} has nothing to roll back to: no canary, and no version that was active before")]
    NothingBefore(String),
    /// A lower version number than what runs.
    #[error("{0} is older than {1}, which is active: say --downgrade if that is meant")]
    Downgrade(String, String),
    /// Payments would be left behind.
    #[error(
        "{0} open payments hold a memo in a format that it does not read: wait for them, or ship a version that reads it"
    )]
    Memos(u64),
}

fn hint(stage: Stage, step: Step) -> &'static str {
    match (stage, step) {
        (Stage::Rejected | Stage::Retired, _) => "stage it again first",
        (Stage::Active, Step::Retire) => "activate another version first",
        (Stage::Active, _) => "it takes all new payments already",
        (Stage::Shadow | Stage::Canary, Step::Retire) => "roll it back first",
        (Stage::Staged | Stage::Verified, _) => "it was not admitted",
        _ => "that step is not for this stage",
    }
}

/// Finds a version by its digest or the beginning of it.
pub fn find<'a>(versions: &'a [Version], adapter: &str, digest: &str) -> Result<&'a Version, StepRefusal> {
    let mut found = versions
        .iter()
        .filter(|it| it.adapter == adapter && !digest.is_empty() && it.digest.starts_with(digest));
    let first = found
        .next()
        .ok_or_else(|| StepRefusal::Unknown(adapter.to_owned(), digest.to_owned()))?;
    match found.next() {
        Some(_) => Err(StepRefusal::Ambiguous(digest.to_owned())),
        None => Ok(first),
    }
}

/// The version that takes an adapter's new payments.
pub fn active<'a>(versions: &'a [Version], adapter: &str) -> Option<&'a Version> {
    versions
        .iter()
        .find(|it| it.adapter == adapter && it.stage == Stage::Active)
}

/// What a step makes of the versions: those that change, as they are then. `digest` is whole.
pub fn plan(
    versions: &[Version],
    (adapter, digest): (&str, &str),
    (step, share): (Step, Option<Share>),
    (reason, now_ms): (&str, u64),
) -> Result<Vec<Version>, StepRefusal> {
    let target = find(versions, adapter, digest)?;
    let moved = |version: &Version, step: Step, reason: &str| {
        let after = version
            .stage
            .after(step)
            .ok_or_else(|| StepRefusal::Stage(short(&version.digest), version.stage, step))?;
        Ok(Version {
            stage: after,
            share: if after == Stage::Canary { share } else { None },
            reason: reason.to_owned(),
            changed_ms: now_ms,
            activated_ms: if after == Stage::Active {
                Some(now_ms)
            } else {
                version.activated_ms
            },
            was_left: version.was_left && after != Stage::Active,
            ..version.clone()
        })
    };
    if step == Step::Canary {
        let percent = share.map_or(0, |share| share.percent);
        if !(1..=50).contains(&percent) {
            return Err(StepRefusal::Share(percent));
        }
        if let Some(few) = share
            .and_then(|share| share.takes_over_after)
            .filter(|it| *it < canary::BASELINE_MIN)
        {
            return Err(StepRefusal::TooFew(few));
        }
        let is_other = |it: &&Version| it.adapter == adapter && it.stage == Stage::Canary && it.digest != target.digest;
        if let Some(other) = versions.iter().find(is_other) {
            return Err(StepRefusal::OtherCanary(short(&other.digest)));
        }
    }
    let mut changed = vec![moved(target, step, reason)?];
    if step == Step::Activate
        && let Some(before) = active(versions, adapter)
    {
        let why = format!("superseded by {}", short(&target.digest));
        changed.push(moved(before, Step::Supersede, &why)?);
    }
    // A version that may not run leaves its place to the one before it.
    if step == Step::Reject
        && target.stage == Stage::Active
        && let Some(before) = before(versions, adapter)
    {
        let why = format!("{} was rejected", short(&target.digest));
        changed.push(moved(before, Step::Activate, &why)?);
    }
    Ok(changed)
}

/// What going back means for an adapter: its canary or its shadow gives up its place; without one, what was active before
/// is active again, and next time what was before that.
pub fn plan_rollback(
    versions: &[Version],
    adapter: &str,
    (reason, now_ms): (&str, u64),
) -> Result<Vec<Version>, StepRefusal> {
    if !versions.iter().any(|it| it.adapter == adapter) {
        return Err(StepRefusal::NoAdapter(adapter.to_owned()));
    }
    let at = |stage: Stage| versions.iter().find(|it| it.adapter == adapter && it.stage == stage);
    if let Some(running) = at(Stage::Canary).or_else(|| at(Stage::Shadow)) {
        return plan(
            versions,
            (adapter, &running.digest),
            (Step::RollBack, None),
            (reason, now_ms),
        );
    }
    let before = before(versions, adapter).ok_or_else(|| StepRefusal::NothingBefore(adapter.to_owned()))?;
    let mut changed = plan(
        versions,
        (adapter, &before.digest),
        (Step::Activate, None),
        (reason, now_ms),
    )?;
    // What was left is not what anybody goes back to: once more goes further back.
    for version in changed.iter_mut().filter(|it| it.digest != before.digest) {
        version.was_left = true;
    }
    Ok(changed)
}

/// What was active before what is.
fn before<'a>(versions: &'a [Version], adapter: &str) -> Option<&'a Version> {
    versions
        .iter()
        .filter(|it| it.adapter == adapter && it.stage == Stage::Draining && !it.was_left)
        .max_by_key(|it| it.activated_ms)
}

/// The beginning of a digest, for people.
pub fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(digest: &str, stage: Stage, activated_ms: Option<u64>) -> Version {
        Version {
            adapter: "acme".into(),
            digest: digest.into(),
            name: "com.acme".into(),
            version: "1.0.0".into(),
            reads_memo: vec![],
            stage,
            share: None,
            signers: vec![],
            reason: String::new(),
            staged_ms: 1,
            changed_ms: 1,
            activated_ms,
            was_left: false,
        }
    }

    fn stages(changed: &[Version]) -> Vec<(&str, Stage)> {
        changed.iter().map(|it| (it.digest.as_str(), it.stage)).collect()
    }

    /// The whole table, in words: whoever changes it sees what changed.
    #[test]
    fn every_pair_of_stage_and_step() {
        let steps = [
            Step::Stage,
            Step::Verify,
            Step::Admit,
            Step::Shadow,
            Step::Canary,
            Step::Activate,
            Step::Supersede,
            Step::RollBack,
            Step::Retire,
            Step::Reject,
        ];
        let row = |stage: Stage| {
            let cells = steps.map(|step| {
                let after = stage.after(step)?;
                Some(format!("{step:?}>{}", after.as_str()))
            });
            let cells: Vec<String> = cells.into_iter().flatten().collect();
            format!("{}: {}", stage.as_str(), cells.join(" "))
        };
        let table: Vec<String> = Stage::ALL.map(row).into();
        let expected = [
            "staged: Verify>verified Retire>retired Reject>rejected",
            "verified: Admit>ready Retire>retired Reject>rejected",
            "ready: Shadow>shadow Canary>canary Activate>active Retire>retired Reject>rejected",
            "shadow: Canary>canary Activate>active RollBack>ready Reject>rejected",
            "canary: Canary>canary Activate>active RollBack>ready Reject>rejected",
            "active: Supersede>draining Reject>rejected",
            "draining: Activate>active Retire>retired Reject>rejected",
            "retired: Stage>staged",
            "rejected: Stage>staged",
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn one_is_active_whatever_is_done() {
        let versions = [
            version("aa", Stage::Draining, Some(5)),
            version("bb", Stage::Active, Some(9)),
            version("cc", Stage::Ready, None),
            version("dd", Stage::Draining, Some(7)),
        ];
        let now = ("", 20);
        let activated = plan(&versions, ("acme", "cc"), (Step::Activate, None), now).unwrap();
        assert_eq!(stages(&activated), [("cc", Stage::Active), ("bb", Stage::Draining)]);
        let back = plan_rollback(&versions, "acme", now).unwrap();
        assert_eq!(stages(&back), [("dd", Stage::Active), ("bb", Stage::Draining)]);
        // Once more goes further back, never forward to what was left; and then there is nothing.
        let mut after = versions.to_vec();
        let go = |after: &mut Vec<Version>, changed: Vec<Version>| {
            for it in changed {
                let at = after.iter().position(|old| old.digest == it.digest).unwrap();
                after[at] = it;
            }
        };
        go(&mut after, back);
        let further = plan_rollback(&after, "acme", ("", 21)).unwrap();
        assert_eq!(stages(&further), [("aa", Stage::Active), ("dd", Stage::Draining)]);
        go(&mut after, further);
        let end = Err(StepRefusal::NothingBefore("acme".into()));
        assert_eq!(plan_rollback(&after, "acme", ("", 22)), end);
        // A new one, and back from it: to what was active before it.
        let fixed = plan(&after, ("acme", "cc"), (Step::Activate, None), ("", 30)).unwrap();
        go(&mut after, fixed);
        let killed = plan(&after, ("acme", "cc"), (Step::Reject, None), ("", 31)).unwrap();
        assert_eq!(stages(&killed), [("cc", Stage::Rejected), ("aa", Stage::Active)]);
        let again = plan_rollback(&after, "acme", ("", 31)).unwrap();
        assert_eq!(stages(&again), [("aa", Stage::Active), ("cc", Stage::Draining)]);
        // What an operator makes active after all counts again.
        let chosen = plan(&after, ("acme", "bb"), (Step::Activate, None), ("", 40)).unwrap();
        go(&mut after, chosen);
        let chosen = plan(&after, ("acme", "dd"), (Step::Activate, None), ("", 41)).unwrap();
        go(&mut after, chosen);
        let back = plan_rollback(&after, "acme", ("", 42)).unwrap();
        assert_eq!(stages(&back), [("bb", Stage::Active), ("dd", Stage::Draining)]);
        let killed = plan(&versions, ("acme", "bb"), (Step::Reject, None), now).unwrap();
        assert_eq!(stages(&killed), [("bb", Stage::Rejected), ("dd", Stage::Active)]);
        let refused = plan(&versions, ("acme", "bb"), (Step::Retire, None), now).unwrap_err();
        assert_eq!(refused.to_string(), "bb is active: activate another version first");
        assert_eq!(
            plan_rollback(&[version("aa", Stage::Active, Some(1))], "acme", now),
            Err(StepRefusal::NothingBefore("acme".into()))
        );
        let unknown = Err(StepRefusal::NoAdapter("acne".into()));
        assert_eq!(plan_rollback(&versions, "acne", now), unknown);
    }

    #[test]
    fn a_canary_is_alone_and_small() {
        let share = |percent| {
            Some(Share {
                percent,
                takes_over_after: None,
            })
        };
        let versions = [
            version("aa", Stage::Active, Some(1)),
            version("bb", Stage::Ready, None),
            version("cc", Stage::Canary, None),
        ];
        let canary = |digest, percent| plan(&versions, ("acme", digest), (Step::Canary, share(percent)), ("", 2));
        assert_eq!(canary("bb", 5), Err(StepRefusal::OtherCanary("cc".into())));
        assert_eq!(canary("cc", 51), Err(StepRefusal::Share(51)));
        assert_eq!(canary("cc", 10).unwrap().first().and_then(|it| it.share), share(10));
        let back = plan_rollback(&versions, "acme", ("", 3)).unwrap();
        assert_eq!(stages(&back), [("cc", Stage::Ready)]);
        assert_eq!(
            find(&versions, "acme", "zz"),
            Err(StepRefusal::Unknown("acme".into(), "zz".into()))
        );
    }
}
