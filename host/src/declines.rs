//! What card networks say of declines: dated data, read once into the table that the router judges by.

use anyhow::Context;
use portolan_domain::operation::Retry;
use portolan_domain::routing::decline::{DeclineRow, DeclineTable};
use portolan_domain::routing::tries::RetryLimit;
use serde::Deserialize;

/// The data, by its edition.
const DATA: &str = include_str!("../data/declines.toml");
const HOUR_MS: u64 = 60 * 60 * 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    edition: String,
    code: Vec<Row>,
    advice: Vec<Row>,
    limit: Vec<Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    network: Option<String>,
    codes: Vec<String>,
    retry: String,
    wait_hours: Option<u64>,
    from: String,
    #[expect(dead_code, reason = "for whoever reads the file")]
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    network: String,
    most: u32,
    within_hours: u64,
    same_amount: bool,
    from: String,
    #[expect(dead_code, reason = "for whoever reads the file")]
    source: String,
}

/// Reads the data.
pub fn load() -> anyhow::Result<DeclineTable> {
    read(DATA)
}

fn read(text: &str) -> anyhow::Result<DeclineTable> {
    let data: Data = toml::from_str(text)?;
    time_of(&data.edition)?;
    let rows = |rows: Vec<Row>| -> anyhow::Result<Vec<DeclineRow>> {
        let all: Vec<Vec<DeclineRow>> = rows.into_iter().map(expand).collect::<Result<_, _>>()?;
        Ok(all.concat())
    };
    let limit = |limit: Limit| {
        Ok(RetryLimit {
            network: limit.network,
            most: limit.most,
            within_ms: limit.within_hours.saturating_mul(HOUR_MS),
            is_same_amount: limit.same_amount,
            from_ms: time_of(&limit.from)?,
        })
    };
    Ok(DeclineTable {
        codes: rows(data.code)?,
        advices: rows(data.advice)?,
        limits: data.limit.into_iter().map(limit).collect::<anyhow::Result<_>>()?,
    })
}

/// A row for each of its codes.
fn expand(row: Row) -> anyhow::Result<Vec<DeclineRow>> {
    let retry = Retry::parse(&row.retry).with_context(|| format!("{:?} says not what may be done", row.retry))?;
    let from_ms = time_of(&row.from)?;
    let one = |code: &String| DeclineRow {
        network: row.network.clone(),
        code: code.clone(),
        retry,
        wait_ms: row.wait_hours.map(|hours| hours.saturating_mul(HOUR_MS)),
        from_ms,
    };
    Ok(row.codes.iter().map(one).collect())
}

/// The beginning of a day, UTC.
fn time_of(day: &str) -> anyhow::Result<u64> {
    crate::config::time_ms(&format!("{day}T00:00:00Z")).map_err(|error| anyhow::anyhow!("{day:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_domain::operation::Decline;

    #[test]
    fn the_data_are_read_and_no_code_stands_twice() {
        let table = load().unwrap();
        for rows in [&table.codes, &table.advices] {
            for (n, row) in rows.iter().enumerate() {
                let same = |other: &&DeclineRow| {
                    (&other.network, &other.code, other.from_ms) == (&row.network, &row.code, row.from_ms)
                };
                assert_eq!(rows.iter().skip(n).filter(same).count(), 1, "{row:?}");
            }
        }
        let decline = Decline {
            retry: Retry::OtherChannel,
            reason: "lost-card".into(),
            provider_code: String::new(),
            network_code: Some("41".into()),
            advice: None,
            message: String::new(),
            wait_ms: None,
            blocks_card: false,
        };
        let now_ms = time_of("2026-11-27").unwrap();
        assert_eq!(table.judge(Some("visa"), &decline, now_ms).retry, Retry::Never);
        assert_eq!(table.limits_for("visa", now_ms).len(), 1);
        // A network that nobody named has them all.
        assert_eq!(table.limits_for("unionpay", now_ms).len(), 3);
    }
}
