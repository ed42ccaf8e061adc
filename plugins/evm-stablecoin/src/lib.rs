//! An adapter for an ERC-20 token on an EVM chain. It owns addresses, logs, transactions and what each proves; keys stay in
//! the host's vault.

mod deposits;
mod describe;
mod feed;
mod node;
mod payouts;
mod sweep;
mod transactions;
mod watched;

use alloy_primitives::{Address, U256, keccak256};
use portolan_adapter::types::{Fault, Money};
use portolan_adapter::{Ctx, Value, keys};

/// The adapter.
pub struct Token;

portolan_adapter::export_channel!(Token: adapter, payments, captures, payouts, feeds);

const NODE: &str = "node";
const WALLET: &str = "wallet";
/// Where payouts are made from.
const HOT: &str = "m/44'/60'/0'/0/0";

/// The channel's settings.
struct Settings {
    chain: u64,
    token: Address,
    asset: String,
    exponent: u8,
    confirmations: u64,
    /// From this amount on, `large_confirmations` are needed.
    large: U256,
    large_confirmations: u64,
    /// How long a deposit that counts is looked at.
    watch_ms: u64,
    max_fee_wei: u128,
    gas_reserve_wei: U256,
    /// From this amount on, deposits are swept.
    sweep_from: Option<U256>,
    /// So long after they counted.
    sweep_after_ms: u64,
    /// For at most so much gas: what is not used stays at the deposit's address.
    sweep_gas: u64,
}

impl Settings {
    fn of(ctx: &Ctx) -> Result<Self, Fault> {
        let bad =
            |name: &str| Fault::Misconfigured(format!("the channel's setting {name} is missing or not of its form"));
        let number = |name: &str| ctx.setting(&format!("/{name}")).as_ref().and_then(Value::as_u64);
        let text = |name: &str| {
            ctx.setting(&format!("/{name}"))
                .as_ref()
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let units = |name: &str| text(name).and_then(|digits| digits.parse::<U256>().ok());
        let confirmations = number("confirmations").unwrap_or(12);
        let watch_s = number("watch_s").unwrap_or(3_600);
        let gwei = number("max_fee_gwei").unwrap_or(200);
        Ok(Self {
            chain: number("chain_id").ok_or_else(|| bad("chain_id"))?,
            token: text("token")
                .and_then(|it| it.parse().ok())
                .ok_or_else(|| bad("token"))?,
            asset: text("asset").ok_or_else(|| bad("asset"))?,
            exponent: number("exponent")
                .and_then(|it| u8::try_from(it).ok())
                .ok_or_else(|| bad("exponent"))?,
            confirmations,
            large: units("large_amount").unwrap_or(U256::MAX),
            large_confirmations: number("large_confirmations").unwrap_or(confirmations),
            watch_ms: watch_s.saturating_mul(1_000),
            max_fee_wei: u128::from(gwei).saturating_mul(1_000_000_000),
            gas_reserve_wei: units("gas_reserve_wei").unwrap_or(U256::ZERO),
            sweep_from: units("sweep_from"),
            sweep_gas: number("sweep_gas").unwrap_or(80_000),
            sweep_after_ms: number("sweep_after_s").unwrap_or(watch_s).saturating_mul(1_000),
        })
    }

    fn money(&self, units: U256) -> Money {
        Money {
            units: units.to_string(),
            exponent: self.exponent,
            asset: self.asset.clone(),
        }
    }

    /// An amount of this token; another's is refused.
    fn units(&self, money: &Money) -> Result<U256, Fault> {
        if money.asset != self.asset || money.exponent != self.exponent {
            let why = format!("this channel moves {} with {} decimals", self.asset, self.exponent);
            return Err(Fault::Invalid(("currency".into(), why)));
        }
        let parsed = money.units.parse();
        parsed.map_err(|_| Fault::Invalid(("amount".into(), "digits of the smallest unit".into())))
    }
}

/// The address of the key at a path.
fn address_at(path: &str) -> Result<Address, Fault> {
    let key = keys::public_key(WALLET, path)?;
    let point = key
        .get(1..65)
        .ok_or_else(|| Fault::Misconfigured("the wallet's key is not of secp256k1".into()))?;
    Ok(Address::from_raw_public_key(point))
}

/// The first topic of ERC-20's `Transfer(address,address,uint256)`.
fn transfer_topic() -> String {
    keccak256("Transfer(address,address,uint256)").to_string()
}
