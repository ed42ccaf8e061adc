//! What to offer a payer, as the merchant sees it.

use super::{Minor, seconds, text_or_null};
use portolan_domain::ids::QuoteId;
use portolan_engine::{Offer, Offers};
use schemars::JsonSchema;
use serde::Serialize;

/// Ways to pay, the best first.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Offers")]
pub struct OffersView<'a> {
    object: &'static str,
    data: Vec<OfferView<'a>>,
    /// Methods that nothing takes now in this currency, with the reason.
    unavailable: Vec<MissingView<'a>>,
    /// Why there is no price in the payer's own currency, where it is another one.
    no_price: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
struct OfferView<'a> {
    /// `card`, `wallet:…` or `token:…`.
    payment_method_type: &'a str,
    /// What the payer pays, all in.
    amount: Minor,
    currency: &'a str,
    /// The quote to pay with, where the price is in another currency than the merchant's.
    #[serde(serialize_with = "text_or_null")]
    #[schemars(with = "Option<String>")]
    quote: Option<QuoteId>,
    expires_at: Option<u64>,
    /// Where it would go first.
    channel: Option<&'a str>,
    /// How likely that approves, in millionths.
    approval_ppm: Option<u32>,
    reasons: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct MissingView<'a> {
    payment_method_type: &'a str,
    why: &'a str,
}

impl<'a> OffersView<'a> {
    /// As the merchant sees them.
    pub fn of(offers: &'a Offers) -> Self {
        let missing = offers.missing.iter().map(|(method, why)| MissingView {
            payment_method_type: method,
            why,
        });
        Self {
            object: "list",
            data: offers.offers.iter().map(OfferView::of).collect(),
            unavailable: missing.collect(),
            no_price: offers.no_price.as_deref(),
        }
    }
}

impl<'a> OfferView<'a> {
    fn of(offer: &'a Offer) -> Self {
        let first = offer.decision.plan.first();
        let terms = offer.quote.as_ref().and_then(|quote| quote.best());
        let mut reasons: Vec<String> = first.map(|it| it.why.clone()).into_iter().collect();
        if let Some(terms) = terms {
            reasons.push(format!("in the payer's own currency, at {}", terms.rate));
        }
        if offer.decision.plan.len() > 1 {
            reasons.push(format!("{} channels take it", offer.decision.plan.len()));
        }
        Self {
            payment_method_type: &offer.method,
            amount: Minor(offer.price.minor()),
            currency: offer.price.asset().code(),
            quote: offer.quote.as_ref().map(|quote| quote.id),
            expires_at: terms.map(|terms| seconds(terms.quotation.expires_ms)),
            channel: first.map(|it| it.channel.as_str()),
            approval_ppm: first.map(|it| it.score.estimate.ppm),
            reasons,
        }
    }
}
