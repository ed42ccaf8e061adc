//! What to offer a payer: every method that some channel takes now, in the merchant's currency and in the payer's own at a price
//! that holds, ranked by what each is worth. It looks at no person: country, card network and amount, and what is learnt of these.

use crate::quote::CreateQuote;
use crate::{Engine, EngineError};
use portolan_domain::ids::{MerchantId, Mode};
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::{Fixed, Inquiry, Kind};
use portolan_domain::quote::Quote;
use portolan_domain::routing::decision::Decision;
use portolan_domain::routing::{Places, RouteFacts, Subjects};

/// How long a price is asked to hold.
const LOCK_S: u32 = 15 * 60;
/// Methods that are looked at.
const METHODS_MAX: usize = 50;

/// What is to be paid, and what is known of who pays.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// What the merchant is to get.
    pub amount: Money,
    /// Where the payer lives.
    pub country: Option<String>,
    /// Where the payer's address is.
    pub ip_country: Option<String>,
    /// Where goods are to go.
    pub shipping_country: Option<String>,
    /// The network of the payer's card, where one is known.
    pub network: Option<String>,
}

/// One way to pay.
#[derive(Clone, Debug)]
pub struct Offer {
    /// As channels name it: `card`, `wallet:alipay-plus`.
    pub method: String,
    /// What the payer pays, all in.
    pub price: Money,
    /// The quote that the price is of, where it is in another currency.
    pub quote: Option<Quote>,
    /// Where it would go now, and why.
    pub decision: Decision,
}

/// Ways to pay, the best first, and those that there are not, with the reason.
#[derive(Clone, Debug)]
pub struct Offers {
    /// The best first.
    pub offers: Vec<Offer>,
    /// Methods that nothing takes now, in the currency that was asked.
    pub missing: Vec<(String, String)>,
    /// Why there is no price in the payer's own currency, where one was asked for.
    pub no_price: Option<String>,
}

impl Engine {
    /// What to offer for such a payment. Nothing is paid; a quote may be made.
    pub async fn recommend(&self, wish: &Wish) -> Offers {
        let methods = self.methods_for(wish);
        let (quote, no_price) = match self.own_price(wish).await {
            Ok(quote) => (quote, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut offers = Offers {
            offers: vec![],
            missing: vec![],
            no_price,
        };
        for method in methods {
            let decision = self.would_go(wish, &method, &wish.amount);
            if is_open(&decision) {
                offers.offers.push(Offer {
                    method: method.clone(),
                    price: wish.amount.clone(),
                    quote: None,
                    decision,
                });
            } else {
                offers.missing.push((method.clone(), why_not(decision)));
            }
            // A token is paid as it is.
            let own = quote.as_ref().filter(|_| !method.starts_with("token:"));
            let own = own.and_then(|quote| Some((quote, quote.best()?.sold.clone())));
            if let Some((quote, price)) = own {
                let decision = self.would_go(wish, &method, &price);
                if is_open(&decision) {
                    offers.offers.push(Offer {
                        method: method.clone(),
                        price,
                        quote: Some(quote.clone()),
                        decision,
                    });
                }
            }
        }
        // Stable: of equal worth, what was configured first; and a price in the payer's own currency before another.
        offers
            .offers
            .sort_by_key(|offer| std::cmp::Reverse((worth_of(offer), offer.quote.is_some())));
        offers
    }

    /// The methods of all channels that the merchant may use, in configured order.
    fn methods_for(&self, wish: &Wish) -> Vec<String> {
        let facts = self.ports.channels.facts();
        let may_use = facts.iter().filter(|it| {
            it.mode == wish.mode
                && it.kinds.contains(&Kind::Authorize)
                && it.merchant.as_ref().is_none_or(|owner| *owner == wish.merchant)
        });
        let mut methods: Vec<String> = vec![];
        for method in may_use.flat_map(|it| &it.methods) {
            if !methods.contains(method) && methods.len() < METHODS_MAX {
                methods.push(method.clone());
            }
        }
        methods
    }

    fn would_go(&self, wish: &Wish, method: &str, price: &Money) -> Decision {
        let is_card = method == "card";
        let facts = RouteFacts {
            must_authenticate: false,
            merchant: &wish.merchant,
            mode: wish.mode,
            method,
            amount: price,
            kind: Kind::Authorize,
            manual_capture: false,
            network: wish.network.as_deref().filter(|_| is_card),
            issuer: None,
            card: None,
            country: wish.country.as_deref(),
            places: Places {
                ip: wish.ip_country.as_deref(),
                shipping: wish.shipping_country.as_deref(),
                beneficiary: None,
            },
            subjects: Subjects::default(),
        };
        self.evaluate_for_anybody(&facts)
    }

    /// What the merchant's amount costs in the currency of the payer's country, where that is another one.
    async fn own_price(&self, wish: &Wish) -> Result<Option<Quote>, EngineError> {
        let own = wish.country.as_deref().and_then(Asset::of_country);
        let Some(own) = own.filter(|own| own != wish.amount.asset()) else {
            return Ok(None);
        };
        let ask = CreateQuote {
            merchant: wish.merchant.clone(),
            mode: wish.mode,
            inquiry: Inquiry {
                sell: own,
                buy: wish.amount.asset().clone(),
                fixed: Fixed::Buy(wish.amount.clone()),
                lock_s: LOCK_S,
            },
        };
        self.create_quote(ask).await.map(Some)
    }
}

/// Whether some channel takes it and no rule refuses it.
fn is_open(decision: &Decision) -> bool {
    !decision.plan.is_empty() && decision.refused().is_none()
}

/// Why it is not: a rule, or the first channel that takes the method and not this payment.
fn why_not(decision: Decision) -> String {
    let refused = decision.refused().map(ToString::to_string);
    let mut excluded = decision.excluded.into_iter();
    let why = excluded.find(|it| !it.why.starts_with("does not take "));
    let by_channel = || why.map_or_else(|| "no channel takes this".to_owned(), |it| it.why);
    refused.unwrap_or_else(by_channel)
}

/// What an offer is worth in basis points of its price, rounded: comparable between currencies.
fn worth_of(offer: &Offer) -> i128 {
    let first = offer.decision.plan.first().map_or(0, |it| it.score.worth_micro);
    let whole = first.checked_mul(10_000);
    let price = offer.price.minor().checked_mul(1_000_000);
    let rounded = whole
        .zip(price)
        .and_then(|(whole, price)| whole.checked_add(price / 2)?.checked_div(price));
    rounded.unwrap_or(0)
}
