//! Counts what stored hashes cost, so that the dummy hashes of unknown addresses cost the same.

use std::time::Duration;

use super::{Accounts, queries};
use crate::database::StoreError;

/// Accounts that are read at once.
const BATCH: u32 = 500;

/// The pause between two batches, in which other units of work have their turn.
const PAUSE: Duration = Duration::from_millis(20);

impl Accounts {
    /// Reads the parameters of every stored hash; what comes of it is in force when all are read.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read: the count before stays in force.
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
