//! Quotes: all exchanges are asked at once, with a deadline; what they say is priced by the domain and written down, to be
//! used once.

use crate::create_payment::CreatePayment;
use crate::run::NewQuestion;
use crate::{Engine, EngineError};
use futures_util::future::join_all;
use portolan_domain::channel::ChannelFacts;
use portolan_domain::ids::{MerchantId, Mode, QuoteId};
use portolan_domain::money::Asset;
use portolan_domain::operation::{Input, Inquiry, Kind, Outcome};
use portolan_domain::payment::Payment;
use portolan_domain::payment::conversion::{Conversion, exposure_of};
use portolan_domain::payment::decide::fault_error;
use portolan_domain::payment::request::FieldError;
use portolan_domain::ports::CommitError;
use portolan_domain::quote::{Quote, QuoteRefusal, Terms, Unavailable, best_first, price, with_markup};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the router takes, and how long it waits for whom.
#[derive(Clone, Debug)]
pub struct QuotePolicy {
    /// The router's share of an exchange, in basis points.
    pub markup_bps: u32,
    /// An exchange that has not answered by then has no price.
    pub deadline: Duration,
    /// For how long a fresh price in the place of a lost one should hold.
    pub requote_lock_s: u32,
    /// The most that may be promised for a pair and not exchanged: codes of what is sold and bought, minor units of what is
    /// sold. A pair that is not named has no limit.
    pub exposure_max: BTreeMap<(String, String), i128>,
}

impl QuotePolicy {
    /// The limit of a pair.
    pub(crate) fn exposure_max_of(&self, sold: &Asset, bought: &Asset) -> Option<i128> {
        let pair = (sold.code().to_owned(), bought.code().to_owned());
        self.exposure_max.get(&pair).copied()
    }
}

impl Default for QuotePolicy {
    fn default() -> Self {
        Self {
            markup_bps: 0,
            deadline: Duration::from_secs(3),
            requote_lock_s: 60,
            exposure_max: BTreeMap::new(),
        }
    }
}

/// `POST /v1/quotes`.
#[derive(Clone, Debug)]
pub struct CreateQuote {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// What is asked.
    pub inquiry: Inquiry,
}

impl Engine {
    /// Asks every exchange and writes the quote down.
    pub async fn create_quote(&self, command: CreateQuote) -> Result<Quote, EngineError> {
        let (terms, unavailable) = self.prices(&command.merchant, command.mode, &command.inquiry).await;
        let Some(best) = terms.first() else {
            return Err(EngineError::NoPrice(unavailable));
        };
        self.refuse_exposed(command.mode, best)?;
        let quote = Quote {
            id: QuoteId(self.ports.ambient.uuid_v7()),
            merchant: command.merchant,
            mode: command.mode,
            created_ms: self.ports.ambient.now_ms(),
            inquiry: command.inquiry,
            terms,
            unavailable,
            used_by: None,
        };
        self.ports.store.put_quote(quote.clone()).await?;
        Ok(quote)
    }

    /// What could not be used anyway is not promised: the guard itself is in the commit that uses the quote.
    fn refuse_exposed(&self, mode: Mode, terms: &Terms) -> Result<(), EngineError> {
        let (sold, bought) = (terms.sold.asset(), terms.owed.asset());
        let Some(most) = self.pricing.exposure_max_of(sold, bought) else {
            return Ok(());
        };
        let open = self.ports.store.exposure(mode, sold, bought)?;
        match open.checked_add(terms.sold.minor()) {
            Some(sum) if sum <= most => Ok(()),
            _ => Err(CommitError::ExposureFull.into()),
        }
    }

    /// The limit for the commit that locks a payment's price.
    pub(crate) fn exposure_max(&self, payment: &Payment) -> Option<i128> {
        let exposure = exposure_of(payment)?;
        self.pricing.exposure_max_of(exposure.sold.asset(), &exposure.bought)
    }

    /// A merchant's quote.
    pub fn quote(&self, merchant: &MerchantId, mode: Mode, id: QuoteId) -> Result<Quote, EngineError> {
        let found = self.ports.store.quote(id)?;
        found
            .filter(|quote| quote.merchant == *merchant && quote.mode == mode)
            .ok_or(EngineError::NotFound("quote"))
    }

    /// What every exchange says, the best first, and who says nothing, and why.
    pub(crate) async fn prices(
        &self,
        merchant: &MerchantId,
        mode: Mode,
        inquiry: &Inquiry,
    ) -> (Vec<Terms>, Vec<Unavailable>) {
        let facts = self.ports.channels.facts();
        let may_ask = |facts: &&ChannelFacts| {
            facts.mode == mode
                && facts.kinds.contains(&Kind::Quote)
                && facts.merchant.as_ref().is_none_or(|owner| owner == merchant)
        };
        let asked = QuoteId(self.ports.ambient.uuid_v7());
        let questions = facts
            .iter()
            .filter(may_ask)
            .zip(0_u32..)
            .map(|(facts, nth)| async move {
                let priced = self.price_at(facts, inquiry, (asked, nth, merchant, mode)).await;
                priced.map_err(|why| Unavailable {
                    channel: facts.id.clone(),
                    why,
                })
            });
        let (mut terms, mut unavailable) = (vec![], vec![]);
        for answer in join_all(questions).await {
            match answer {
                Ok(priced) => terms.push(priced),
                Err(why) => unavailable.push(why),
            }
        }
        (best_first(terms), unavailable)
    }

    async fn price_at(
        &self,
        facts: &ChannelFacts,
        inquiry: &Inquiry,
        (asked, nth, merchant, mode): (QuoteId, u32, &MerchantId, Mode),
    ) -> Result<Terms, String> {
        if facts.disabled {
            return Err("taken out by the operator".into());
        }
        let markup_bps = self.pricing.markup_bps;
        let input = with_markup(inquiry, markup_bps).ok_or("the router's share leaves nothing")?;
        let question = NewQuestion {
            id: asked.operation(nth),
            channel: facts.id.clone(),
            adapter: facts.adapter.clone(),
            merchant: merchant.clone(),
            mode,
            input: Input::Quote(input),
        };
        let answer = tokio::time::timeout(self.pricing.deadline, self.ask_channel(question)).await;
        let outcome = answer.map_err(|_| "it did not answer in time".to_owned())?;
        // What a merchant reads is what payments say of a fault, not the adapter's own text.
        let outcome = outcome.map_err(|fault| {
            tracing::info!(channel = %facts.id, %fault, "no price");
            fault_error(&fault).1
        })?;
        match outcome {
            Outcome::Quoted(quotation) => {
                let now_ms = self.ports.ambient.now_ms();
                price(inquiry, &facts.id, quotation, (markup_bps, now_ms)).map_err(str::to_owned)
            }
            Outcome::Declined(decline) => Err(decline.message),
            _ => Err("its adapter answered something that is no price".into()),
        }
    }

    /// The leg that a payment's quote promises, or why the quote cannot be used.
    pub(crate) async fn conversion_of(&self, command: &CreatePayment) -> Result<Option<Conversion>, EngineError> {
        let Some(wanted) = command.valid.quote else {
            return Ok(None);
        };
        let quote = match self.quote(&command.merchant, command.mode, wanted.id) {
            Err(EngineError::NotFound(_)) => {
                let error = FieldError::new("/quote", "not_found", "there is no such quote");
                return Err(EngineError::Invalid(vec![error]));
            }
            found => found?,
        };
        match quote.usable(Some(&command.valid.amount), self.ports.ambient.now_ms()) {
            Ok(terms) => {
                let policy = (wanted.if_lost, wanted.slippage_bps);
                Ok(Some(Conversion::planned(quote.id, terms.clone(), policy)))
            }
            Err(QuoteRefusal::OtherAmount) => {
                let sold = quote.best().map(|terms| terms.sold.to_string()).unwrap_or_default();
                let error = FieldError::new("/amount", "not_the_quotes", format!("this quote is for {sold}"));
                Err(EngineError::Invalid(vec![error]))
            }
            Err(QuoteRefusal::Used) => Err(EngineError::Quote(QuoteRefusal::Used, None)),
            Err(QuoteRefusal::Expired) => {
                let again = CreateQuote {
                    merchant: command.merchant.clone(),
                    mode: command.mode,
                    inquiry: quote.inquiry,
                };
                let fresh = self.create_quote(again).await.ok().map(Box::new);
                Err(EngineError::Quote(QuoteRefusal::Expired, fresh))
            }
        }
    }
}
