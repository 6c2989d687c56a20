//! Counts the costs of stored hashes, so that the dummy hashes of unknown addresses cost the same.

use std::time::Duration;

use super::{Accounts, queries};
use crate::database::StoreError;

/// The number of accounts read in one query.
const BATCH: u32 = 500;

/// The pause between two batches, in which other units of work can run.
const PAUSE: Duration = Duration::from_millis(20);

impl Accounts {
    /// Counts the parameters of every stored hash. The new count is used when all hashes have been
    /// read.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read: the previous count stays in use.
    pub async fn count_stored_costs(&self) -> Result<(), StoreError> {
        let mut costs = self.hasher.stored_costs();
        let mut after = None;
        loop {
            let batch = self.db.read(move |c| queries::password_hashes(c, after, BATCH)).await?;
            for (_, hash) in &batch {
                costs.count(hash);
            }
            let Some((last, _)) = batch.last().filter(|_| batch.len() == BATCH as usize) else {
                break;
            };
            after = Some(*last);
            tokio::time::sleep(PAUSE).await;
        }
        self.hasher.set_stored_costs(costs);
        Ok(())
    }
}
