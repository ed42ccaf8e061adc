//! What went wrong, for the adapter's partner: a payment's journal as test vectors. How they are made, and what is masked, is the
//! channels' own.

use super::{PluginError, Plugins, refused};
use portolan_channels::Vector;
use portolan_domain::ids::{ChannelId, PaymentId};

impl Plugins {
    /// A payment's operations as test vectors, for the partner: without secrets, and without the payer.
    pub fn vectors(&self, payment: PaymentId) -> Result<Vec<(ChannelId, Vector)>, PluginError> {
        let journal = self.library.operations(payment)?;
        let channels = journal.iter().map(|it| it.0.channel.clone());
        let journal: Vec<_> = journal.iter().map(|it| (&it.0, it.1.as_slice())).collect();
        let made = tokio::task::block_in_place(|| self.registry.vectors(&journal));
        made.map(|made| channels.zip(made).collect()).map_err(|problem| {
            let mend = "ask again while its adapter's version is loaded";
            refused("vectors", problem, mend)
        })
    }
}
