//! Exactness against an oracle that nobody here wrote: Python's `decimal` computes every conversion, split and share
//! again. Random amounts over the exponents that there are, in all roundings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use portolan_domain::money::rate::{Rate, Rounding};
use portolan_domain::money::{Asset, Money};
use rust_decimal::Decimal;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Cases of each of the four kinds; 10^6 in all.
const CASES: u32 = 250_000;

const ORACLE: &str = r#"
import sys
from decimal import Decimal, getcontext, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_DOWN, ROUND_UP
getcontext().prec = 120
modes = {"half_even": ROUND_HALF_EVEN, "half_up": ROUND_HALF_UP, "down": ROUND_DOWN, "up": ROUND_UP}
bad = 0
def check(line, ok):
    global bad
    if not ok:
        bad += 1
        if bad < 6: print("differs:", line.strip())
for line in sys.stdin:
    f = line.split()
    if f[0] == "convert" or f[0] == "cost":
        _, minor, exp_in, rate, exp_out, mode, got = f
        units = Decimal(minor).scaleb(-int(exp_in))
        exact = units * Decimal(rate) if f[0] == "convert" else units / Decimal(rate)
        want = exact.scaleb(int(exp_out)).quantize(Decimal(1), rounding=modes[mode])
        check(line, want == Decimal(got))
    elif f[0] == "split":
        whole, weights, parts = int(f[1]), [int(w) for w in f[2].split(",")], [int(p) for p in f[3].split(",")]
        total = sum(weights)
        exact = [Decimal(whole) * w / total for w in weights]
        check(line, sum(parts) == whole and all(abs(Decimal(p) - e) < 1 for p, e in zip(parts, exact)))
    else:
        whole, of, dones, shares = int(f[1]), int(f[2]), [int(d) for d in f[3].split(",")], [int(s) for s in f[4].split(",")]
        want = [int((Decimal(whole) * d / of).quantize(Decimal(1), rounding=ROUND_DOWN)) for d in dones]
        check(line, shares == want and shares[-1] == whole)
print("checked, differing:", bad)
"#;

/// xorshift64*: the same cases each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// Of every size: as many small ones as large ones.
    fn minor(&mut self, digits: u64) -> i128 {
        let most = 10_i128.pow(u32::try_from(1 + self.below(digits)).unwrap());
        (i128::from(self.next()) << 32 | i128::from(self.next() >> 32)) % most
    }

    fn asset(&mut self) -> Asset {
        const CURRENCIES: [&str; 6] = ["JPY", "EUR", "KWD", "CLF", "HKD", "CLP"];
        match self.below(8) {
            6 => Asset::token("USDC:eip155:1", 6).unwrap(),
            7 => Asset::token("DAI:eip155:1", 18).unwrap(),
            at => Asset::currency(CURRENCIES[usize::try_from(at).unwrap()]).unwrap(),
        }
    }

    fn rate(&mut self) -> Decimal {
        let mantissa = 1 + self.minor(18);
        Decimal::from_i128_with_scale(mantissa, u32::try_from(self.below(13)).unwrap())
    }

    fn rounding(&mut self) -> Rounding {
        [Rounding::HalfEven, Rounding::HalfUp, Rounding::Down, Rounding::Up][usize::try_from(self.below(4)).unwrap()]
    }
}

fn numbers<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|it| it.to_string()).collect::<Vec<_>>().join(",")
}

fn conversion(random: &mut Random, lines: &mut String) {
    let (base, counter, rounding) = (random.asset(), random.asset(), random.rounding());
    let rate = Rate::new(base.clone(), counter.clone(), random.rate()).unwrap();
    let (word, value) = (rounding.as_str(), rate.value());
    let sold = Money::new(random.minor(24), base.clone()).unwrap();
    if let Ok(bought) = rate.convert(&sold, rounding) {
        let (from, to) = (base.exponent(), counter.exponent());
        writeln!(
            lines,
            "convert {} {from} {value} {to} {word} {}",
            sold.minor(),
            bought.minor()
        )
        .unwrap();
    }
    let bought = Money::new(random.minor(24), counter.clone()).unwrap();
    if let Ok(sold) = rate.cost_of(&bought, rounding) {
        let (from, to) = (counter.exponent(), base.exponent());
        writeln!(
            lines,
            "cost {} {from} {value} {to} {word} {}",
            bought.minor(),
            sold.minor()
        )
        .unwrap();
    }
}

fn split(random: &mut Random, lines: &mut String) {
    let whole = Money::new(random.minor(24), random.asset()).unwrap();
    let weights: Vec<u64> = (0..=random.below(6)).map(|_| 1 + random.below(10_000)).collect();
    let parts = whole.split(&weights).unwrap();
    let parts = numbers(parts.iter().map(Money::minor));
    writeln!(lines, "split {} {} {parts}", whole.minor(), numbers(weights)).unwrap();
}

/// Refunds at the original rate: what was settled goes back in the share of what was presented, and at last all of it.
fn shares(random: &mut Random, lines: &mut String) {
    let settled = Money::new(random.minor(18), random.asset()).unwrap();
    let presented = Money::new(1 + random.minor(12), random.asset()).unwrap();
    let mut done: Vec<i128> = (0..3).map(|_| random.minor(12) % (presented.minor() + 1)).collect();
    done.sort_unstable();
    done.push(presented.minor());
    let share = |minor: &i128| {
        let part = Money::new(*minor, presented.asset().clone()).unwrap();
        settled.share(&part, &presented).unwrap().minor()
    };
    let shares = numbers(done.iter().map(share));
    writeln!(
        lines,
        "share {} {} {} {shares}",
        settled.minor(),
        presented.minor(),
        numbers(done)
    )
    .unwrap();
}

#[test]
fn a_million_conversions_splits_and_refunds_are_exact() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut lines = String::new();
    for _ in 0..CASES {
        conversion(&mut random, &mut lines);
        split(&mut random, &mut lines);
        shares(&mut random, &mut lines);
    }
    let count = lines.lines().count();
    assert!(count > 950_000, "too many cases were out of range: {count}");
    let mut python = Command::new("python3")
        .args(["-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    python.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let said = String::from_utf8(python.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(said.trim(), "checked, differing: 0");
}
