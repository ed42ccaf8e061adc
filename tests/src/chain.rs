//! A real EVM node: anvil, with a token of OpenZeppelin's on it, both from npm. Its accounts are unlocked, so that payers need
//! no keys here; what the router signs, it signs itself.

use crate::http::call;
use crate::peers;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The chain's number, anvil's own.
pub const CHAIN: u64 = 31_337;

/// The token's code for the router.
pub const CODE: &str = "USDC:eip155:31337";
/// The seed of BIP 32's first test vector.
pub const SEED: &str = "000102030405060708090a0b0c0d0e0f";
/// The payout address: m/44'/60'/0'/0/0 of the seed, as another implementation of BIP 32 derives it (bip_utils, PyPI).
pub const HOT: &str = "0x022b971dFF0C43305e691DEd7a14367AF19D6407";

/// A node with a token.
pub struct Chain {
    /// Where the seed is.
    folder: tempfile::TempDir,
    child: Child,
    /// Where it listens.
    pub at: SocketAddr,
    /// The token's contract.
    pub token: String,
    /// Who has all tokens and plenty of coins at first.
    pub payer: String,
}

impl Chain {
    /// Starts it: a block for each transaction, and the token deployed.
    pub fn start() -> anyhow::Result<Self> {
        let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let program = anvil()?;
        let child = Command::new(&program)
            .args(["--port", &at.port().to_string(), "--silent", "--slots-in-an-epoch", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{}: run cargo xtask test once", program.display()))?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("seed.secret"), SEED)?;
        let mut chain = Self {
            folder,
            child,
            at,
            token: String::new(),
            payer: String::new(),
        };
        let started = Instant::now();
        while chain.rpc("eth_blockNumber", json!([])).is_err() {
            if started.elapsed() > Duration::from_secs(30) {
                bail!("anvil does not answer");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let accounts = chain.rpc("eth_accounts", json!([]))?;
        chain.payer = text(&accounts, "/0")?;
        chain.deploy()?;
        Ok(chain)
    }

    /// The token, its adapter and a channel `chain-a` for it, as configuration; `more` settings, each with a comma behind.
    pub fn channel(&self, confirmations: u64, more: &str) -> String {
        format!(
            r#"
[[token]]
code = "{CODE}"
exponent = 18

[[adapter]]
name = "evm-stablecoin"
file = "{guest}"

[[channel]]
id = "chain-a"
mode = "test"
adapter = "evm-stablecoin"
harmless = ["POST /"]
settings = {{ chain_id = {CHAIN}, token = "{token}", asset = "{CODE}", exponent = 18, confirmations = {confirmations}, {more} }}
endpoints.node = {{ url = "http://{at}", allow_private = true }}
keys.wallet = "file:{folder}/seed.secret"
"#,
            guest = crate::world::guest("portolan_evm_stablecoin_adapter").display(),
            token = self.token,
            at = self.at,
            folder = self.folder.path().display(),
        )
    }

    /// Calls the node.
    pub fn rpc(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let reply = call(
            self.at,
            "POST",
            "/",
            &[("content-type", "application/json")],
            Some(&body),
        )?;
        match reply.body.get("result") {
            Some(result) => Ok(result.clone()),
            None => bail!("{method}: {}", reply.text),
        }
    }

    fn deploy(&mut self) -> anyhow::Result<()> {
        let file = peers::node_modules().join("@openzeppelin/contracts/build/contracts/ERC20PresetFixedSupply.json");
        let artifact: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let code = artifact
            .get("bytecode")
            .and_then(Value::as_str)
            .context("no bytecode")?;
        // constructor(string name, string symbol, uint256 supply, address owner): 10^27 units, all the payer's.
        let word = |value: u128| format!("{value:064x}");
        let owner = format!("{:0>64}", self.payer.trim_start_matches("0x"));
        let usdc = format!("{:0<64}", "55534443");
        let arguments = [
            word(128),
            word(192),
            word(10_u128.pow(27)),
            owner,
            word(4),
            usdc.clone(),
            word(4),
            usdc,
        ]
        .concat();
        let hash = self.send(json!({ "from": self.payer, "data": format!("{code}{arguments}"), "gas": "0x2dc6c0" }))?;
        let receipt = self.rpc("eth_getTransactionReceipt", json!([hash]))?;
        self.token = text(&receipt, "/contractAddress")?;
        Ok(())
    }

    /// Sends a transaction of an account that the node unlocks, and waits until it is mined.
    pub fn send(&self, transaction: Value) -> anyhow::Result<String> {
        let hash = self.rpc("eth_sendTransaction", json!([transaction]))?;
        let hash = hash.as_str().context("no hash")?.to_owned();
        let started = Instant::now();
        while self.rpc("eth_getTransactionReceipt", json!([hash]))?.is_null() {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(30), "{hash} was never mined");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(hash)
    }

    /// Pays tokens out of the payer's.
    pub fn pay(&self, to: &str, units: u128) -> anyhow::Result<String> {
        let data = format!(
            "0xa9059cbb{:0>64}{units:064x}",
            to.trim_start_matches("0x").to_lowercase()
        );
        self.send(json!({ "from": self.payer, "to": self.token, "data": data, "gas": "0x30d40" }))
    }

    /// How many units an address has.
    pub fn balance(&self, of: &str) -> anyhow::Result<u128> {
        let data = format!("0x70a08231{:0>64}", of.trim_start_matches("0x").to_lowercase());
        let balance = self.rpc("eth_call", json!([{ "to": self.token, "data": data }, "latest"]))?;
        let digits = balance.as_str().context("no balance")?.trim_start_matches("0x");
        Ok(u128::from_str_radix(digits, 16)?)
    }

    /// What an address holds of the chain's own coin, in wei.
    pub fn coins(&self, of: &str) -> anyhow::Result<u128> {
        let balance = self.rpc("eth_getBalance", json!([of, "latest"]))?;
        let digits = balance.as_str().context("no balance")?.trim_start_matches("0x");
        Ok(u128::from_str_radix(digits, 16)?)
    }

    /// Gives an address coins for gas: so many thousandths of one.
    pub fn give_coins(&self, to: &str, thousandths: u128) -> anyhow::Result<()> {
        let wei = format!("{:#x}", thousandths * 10_u128.pow(15));
        self.rpc("anvil_setBalance", json!([to, wei])).map(drop)
    }

    /// So many more blocks.
    pub fn mine(&self, blocks: u64) -> anyhow::Result<()> {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).map(drop)
    }

    /// The last blocks never happened: others are there in their place.
    pub fn reorganize(&self, depth: u64) -> anyhow::Result<()> {
        self.rpc("anvil_reorg", json!([depth, []])).map(drop)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program itself, not npm's starter, which would leave it behind when it is killed.
fn anvil() -> anyhow::Result<PathBuf> {
    let folder = peers::node_modules().join("@foundry-rs");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("{}: run cargo xtask test once", folder.display()))?;
    let mut programs = entries.flatten().map(|entry| entry.path().join("bin/anvil"));
    programs
        .find(|path| path.exists())
        .context("npm brought no anvil for this machine")
}

fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("no {pointer} in {value}"))?.to_owned())
}
