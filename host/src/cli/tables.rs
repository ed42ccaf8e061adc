//! What the admin interface answers, for people to read: one line for each version. It decides nothing.

use crate::plugins::one_line;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A version's digest is shown this long: as much as a verb needs to find it.
const DIGEST_SHOWN: usize = 12;

/// Every version.
pub fn versions(answer: &Value) -> String {
    let head = ["ADAPTER", "DIGEST", "VERSION", "STAGE", "SIGNED BY", "WHY"];
    let row = |it: &Value| {
        let share = it.get("share_percent").and_then(Value::as_u64);
        let stage = share.map_or_else(
            || text(it, "/stage"),
            |share| format!("{} {share} %", text(it, "/stage")),
        );
        let signers = it.get("signers").and_then(Value::as_array).into_iter().flatten();
        let signers: Vec<&str> = signers.filter_map(Value::as_str).collect();
        [
            text(it, "/adapter"),
            short(it, "/digest"),
            text(it, "/version"),
            stage,
            signers.join(", "),
            text(it, "/reason"),
        ]
    };
    table(head, rows(answer).map(row))
}

/// What each did since it was loaded.
pub fn usage(answer: &Value) -> String {
    let head = [
        "ADAPTER", "DIGEST", "STAGE", "CALLS", "US/CALL", "MEMORY", "FAULTS", "REQUESTS", "OUT", "IN", "PAYMENTS",
        "DECLINED", "UNKNOWN",
    ];
    let row = |it: &Value| {
        let number = |pointer: &str| count(it, pointer).to_string();
        let faults = it
            .pointer("/usage/faults")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let faults: Vec<String> = faults.map(|(kind, many)| format!("{many} {kind}")).collect();
        [
            text(it, "/version/adapter"),
            short(it, "/version/digest"),
            text(it, "/version/stage"),
            number("/usage/calls"),
            number("/usage/us_per_call"),
            bytes(count(it, "/usage/memory_peak_bytes")),
            if faults.is_empty() {
                "0".into()
            } else {
                faults.join(", ")
            },
            number("/usage/requests"),
            bytes(count(it, "/usage/bytes_out")),
            bytes(count(it, "/usage/bytes_in")),
            number("/usage/payments/payments"),
            number("/usage/payments/declined"),
            number("/usage/payments/unknown"),
        ]
    };
    table(head, rows(answer).map(row))
}

/// Who did what with an adapter's versions.
pub fn history(answer: &Value) -> String {
    let head = ["WHEN", "BY", "WHAT", "ABOUT", "WHY"];
    let acts = answer.get("history").and_then(Value::as_array).into_iter().flatten();
    let row = |it: &Value| {
        [
            moment(count(it, "/at_ms")),
            text(it, "/by"),
            text(it, "/verb").trim_start_matches("plugin.").to_owned(),
            text(it, "/about"),
            text(it, "/note"),
        ]
    };
    table(head, acts.map(row))
}

/// To the second, in UTC.
fn moment(at_ms: u64) -> String {
    let seconds = i64::try_from(at_ms / 1_000).ok();
    let at = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

fn rows(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.get("versions").and_then(Value::as_array).into_iter().flatten()
}

fn text(of: &Value, pointer: &str) -> String {
    one_line(of.pointer(pointer).and_then(Value::as_str).unwrap_or_default())
}

fn short(of: &Value, pointer: &str) -> String {
    text(of, pointer).chars().take(DIGEST_SHOWN).collect()
}

fn count(of: &Value, pointer: &str) -> u64 {
    of.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn bytes(many: u64) -> String {
    match many {
        0..10_240 => format!("{many} B"),
        10_240..10_485_760 => format!("{} KiB", many >> 10),
        _ => format!("{} MiB", many >> 20),
    }
}

/// Columns as wide as what stands in them; the last one as it is.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let all: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let wide = |column: usize| {
        all.iter()
            .filter_map(|row| row.get(column))
            .map(|it| it.chars().count())
            .max()
    };
    let lines = all.iter().map(|row| {
        let cells = row.iter().enumerate();
        let cells = cells.map(|(column, it)| format!("{it:width$}", width = wide(column).unwrap_or(0)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_history_has_its_times() {
        let act = json!({ "at_ms": 1_795_841_088_250_u64, "by": "alice", "verb": "plugin.activate", "about": "acme 0123", "note": "better\nand more" });
        let shown = super::history(&json!({ "history": [act] }));
        let last = shown.lines().last().unwrap();
        assert_eq!(
            last,
            "2026-11-28T04:44:48Z  alice  activate  acme 0123  better and more"
        );
    }

    #[test]
    fn versions_stand_in_columns() {
        let of = |stage: &str, share: Option<u64>, reason: &str| {
            json!({
                "adapter": "acme", "digest": "0123456789abcdef", "version": "1.0.0", "stage": stage, "share_percent": share,
                "signers": ["acme (partner)"], "reason": reason,
            })
        };
        let answer = json!({ "versions": [of("active", None, ""), of("canary", Some(5), "a\nb")] });
        let expected = "\
ADAPTER  DIGEST        VERSION  STAGE       SIGNED BY       WHY
acme     0123456789ab  1.0.0    active      acme (partner)
acme     0123456789ab  1.0.0    canary 5 %  acme (partner)  a b";
        assert_eq!(super::versions(&answer), expected);
    }
}
