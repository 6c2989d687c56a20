//! The floors: the most that the machine can do.

use std::time::Duration;

use allocator_api2::alloc::Allocator;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::passwords::HashCost;

use super::clients::repeated;
use super::data::{Data, PASSWORD};

pub fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// Hashes a second: with the service's parameters, number of threads and priority, each with memory
/// that is allocated once, by this allocator.
pub fn hashes(allocator: impl Allocator + Copy + Send, time: Duration) -> f64 {
    let HashCost { memory_kib, iterations, parallelism } = HashCost::default();
    let params = Params::new(memory_kib, iterations, parallelism, Some(32)).unwrap();
    let memory = allocator_api2::vec![in allocator; Block::new(); params.block_count()];
    let mut memories = vec![memory; cores()];
    repeated(&mut memories, time, |memory| {
        rustix::process::nice(10).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        move || {
            let (password, mut tag) = (PASSWORD.as_bytes(), [0; 32]);
            let salt = b"as long as a salt";
            argon2.hash_password_into_with_memory(password, salt, &mut tag, &mut *memory).unwrap();
            std::hint::black_box(tag);
        }
    })
}

/// Durable transactions a second, sequential, each with its own fsync.
pub fn transactions(data: &Data, time: Duration) -> f64 {
    let path = data.directory().join("floor.db");
    let mut connection = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE IF NOT EXISTS floor (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
                 INSERT OR IGNORE INTO floor VALUES (1, 0);";
    connection.batch_execute(setup).unwrap();
    repeated(&mut [connection], time, |connection| {
        || assert_eq!(diesel::sql_query("UPDATE floor SET n = n + 1").execute(connection), Ok(1))
    })
}
