//! At start: operations whose intent is on disk and whose outcome is not. The disk cannot know that no byte left, so
//! each is unknown, and its check is due at once.

use crate::run::Ran;
use crate::{Engine, EngineError};
use portolan_domain::ids::OperationId;
use portolan_domain::operation::{Progress, Verdict};

impl Engine {
    /// Takes up what the last run left; returns how many operations became unknown.
    pub async fn recover(&self) -> Result<usize, EngineError> {
        let mut found = 0;
        for id in self.ports.store.open_operations()? {
            found += usize::from(self.recover_one(id).await?);
        }
        Ok(found)
    }

    async fn recover_one(&self, id: OperationId) -> Result<bool, EngineError> {
        let Some((operation, exchanges)) = self.ports.store.operation(id)? else {
            return Ok(false);
        };
        if operation.progress != Progress::Open {
            return Ok(false);
        }
        let base = self.load(operation.payment)?;
        let verdict = Verdict::Unknown("the router stopped while the request was on its way".into(), None);
        self.apply(base, operation, Ran { verdict, exchanges }).await?;
        self.ports.steps.reached("after_recovery");
        Ok(true)
    }
}
