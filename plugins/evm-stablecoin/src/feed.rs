//! The feed of everybody's transfers of the token, block by block, and again where the chain is another one than was read.

use crate::node::{ask, number};
use crate::{Settings, Token, transfer_topic};
use portolan_adapter::feeds::{Page, Subject};
use portolan_adapter::types::Fault;
use portolan_adapter::{Ctx, Feeds, Value, json};

/// When a feed that has nothing new is read again.
const FEED_MS: u32 = 500;
/// Blocks in one page of the feed; where a node refuses so many logs at once, fewer.
const FEED_BLOCKS: [u64; 4] = [64, 16, 4, 1];
/// So many blocks are read again where the chain is another one.
const REREAD_BLOCKS: u64 = 256;

impl Feeds for Token {
    /// Blocks that are deep enough, from the cursor on.
    async fn poll(ctx: &Ctx, cursor: Vec<u8>) -> Result<Page, Fault> {
        let settings = Settings::of(ctx)?;
        let silent = |why: String| Fault::Other(format!("the node does not answer: {why}"));
        let head = number(ctx, "eth_blockNumber", json!([])).await?.map_err(silent)?;
        let head = u64::try_from(head).unwrap_or(0);
        let deep = (head + 1).saturating_sub(settings.confirmations);
        let (read_to, read_hash) = read(&cursor);
        let page = |subjects, (to, hash): (u64, &[u8]), check_after_ms| Page {
            subjects,
            cursor: [&to.to_be_bytes(), hash].concat(),
            check_after_ms,
        };
        let Some(read_to) = read_to else {
            return Ok(page(vec![], (deep, &[]), FEED_MS));
        };
        if read_to > head {
            // A shorter chain is another one: what came back with other blocks is read again.
            return Ok(page(vec![], (deep.saturating_sub(REREAD_BLOCKS), &[]), FEED_MS));
        }
        if deep <= read_to {
            return Ok(page(vec![], (read_to, read_hash), FEED_MS));
        }
        // Another block where the last page ended: what came back with other blocks is read again.
        let from = match read_hash.is_empty() || block_hash(ctx, read_to).await?.map_err(silent)? == read_hash {
            true => read_to,
            false => read_to.saturating_sub(REREAD_BLOCKS),
        };
        let mut refused = String::new();
        for blocks in FEED_BLOCKS {
            let to = deep.min(from.saturating_add(blocks));
            match transfers(ctx, &settings, (from + 1, to)).await? {
                Ok(subjects) => {
                    let check_after_ms = if to < deep { 0 } else { FEED_MS };
                    let hash = block_hash(ctx, to).await?.map_err(silent)?;
                    return Ok(page(subjects, (to, &hash), check_after_ms));
                }
                Err(why) => refused = why,
            }
        }
        Err(silent(refused))
    }
}

/// The last block that was read, and its hash: none in the cursor of an older version.
fn read(cursor: &[u8]) -> (Option<u64>, &[u8]) {
    match cursor.split_first_chunk() {
        Some((number, hash)) => (Some(u64::from_be_bytes(*number)), hash),
        None => (None, &[]),
    }
}

/// The hash of a block on the chain of now; empty: it has none there.
async fn block_hash(ctx: &Ctx, number: u64) -> Result<Result<Vec<u8>, String>, Fault> {
    let block = match ask(ctx, "eth_getBlockByNumber", json!([format!("{number:#x}"), false])).await? {
        Ok(block) => block,
        Err(why) => return Ok(Err(why)),
    };
    let hash = block.get("hash").and_then(Value::as_str);
    let hash = hash.map(alloy_primitives::hex::decode).transpose();
    let hash = hash.map_err(|_| Fault::Protocol("a block whose hash is none".into()))?;
    Ok(Ok(hash.unwrap_or_default()))
}

/// Everybody's transfers in these blocks.
async fn transfers(
    ctx: &Ctx,
    settings: &Settings,
    (from, to): (u64, u64),
) -> Result<Result<Vec<Subject>, String>, Fault> {
    let filter = json!([{
        "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
        "address": settings.token, "topics": [transfer_topic()],
    }]);
    match ask(ctx, "eth_getLogs", filter).await? {
        Ok(Value::Array(logs)) => logs.iter().map(subject).collect::<Result<_, _>>().map(Ok),
        Ok(other) => Err(Fault::Protocol(format!("eth_getLogs gave {other}"))),
        Err(why) => Ok(Err(why)),
    }
}

fn subject(log: &Value) -> Result<Subject, Fault> {
    let text = |pointer: &str| log.pointer(pointer).and_then(Value::as_str);
    let receiver = text("/topics/2").and_then(|word| word.get(word.len().saturating_sub(40)..));
    // With its block: a transaction that is mined again in another one is news.
    let place = text("/transactionHash").zip(text("/logIndex")).zip(text("/blockHash"));
    match (receiver, place) {
        (Some(receiver), Some(((transaction, index), block))) => Ok(Subject {
            key: None,
            reference: Some(format!("0x{}", receiver.to_lowercase())),
            event: format!("{block} {transaction} {index}"),
            says: None,
            extra: vec![],
        }),
        _ => Err(Fault::Protocol("a log without its place".into())),
    }
}
