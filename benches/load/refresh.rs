//! Refreshes that are written: each rotates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use doorward::clock::Clock;
use doorward::database::Id;
use doorward::database::schema::{sessions, users};
use doorward::secret::Secret;
use futures_util::future::join_all;
use serde_json::json;

use super::Effort;
use super::client::Client;
use super::postgres::Cluster;
use super::report::{Report, median};
use super::service::Service;

const CLIENTS: usize = 64;

/// Connections, of the service as of the floor.
const POOL: u32 = 8;

/// Rotations by HTTP clients, beside the statement that stores one, run by as many threads on as
/// many connections to the same server.
pub async fn on_postgres(effort: Effort, report: &mut Report) {
    let cluster = Cluster::start(&[]);
    let url = cluster.empty_database();
    let service = Service::start(|config| {
        config.database_url = Some(Secret::new(url.clone()));
        config.database.pool_size = POOL;
        config.sessions.retry_window = Duration::ZERO;
    })
    .await;
    let mut tokens = service.sessions(CLIENTS).await;
    let floor = Floor::prepare(&url);
    let (mut rates, mut floor_rates) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        floor_rates.push(floor.run(effort.time));
        rates.push(rotations(&service, &mut tokens, effort.time).await);
    }
    let what = format!("refresh on PostgreSQL, {CLIENTS} clients, each a rotation");
    let floor = format!("the same UPDATE through diesel, {POOL} connections");
    report.add(&what, median(rates), &floor, median(floor_rates));
}

/// How many rotations a second so many clients get, one for each token.
async fn rotations(service: &Service, tokens: &mut [String], time: Duration) -> f64 {
    let count = AtomicU64::new(0);
    let began = now();
    join_all(tokens.iter_mut().map(async |token| {
        let mut client = Client::connect(service.address).await;
        while now() - began < time {
            let body = json!({ "refresh_token": token });
            let answer = client.post("/refresh", "", &body).await.expect(200).json();
            answer["refresh_token"].as_str().unwrap().clone_into(token);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }))
    .await;
    per_second(&count, began)
}

/// The statement that stores a rotation, with nothing around it.
struct Floor {
    pool: Pool<ConnectionManager<PgConnection>>,
    sessions: Vec<Id>,
    generation: Arc<AtomicU64>,
}

impl Floor {
    fn prepare(url: &str) -> Self {
        let manager = ConnectionManager::<PgConnection>::new(url);
        let pool = Pool::builder().max_size(POOL).build(manager).unwrap();
        let mut c = pool.get().unwrap();
        let user = Id::from(uuid::Uuid::new_v4());
        diesel::insert_into(users::table)
            .values((
                users::id.eq(user),
                users::email.eq("floor"),
                users::email_key.eq("floor"),
                users::password_hash.eq(""),
                users::created_at.eq(0_i64),
                users::password_changed_at.eq(0_i64),
            ))
            .execute(&mut c)
            .unwrap();
        let ids: Vec<Id> = (0..CLIENTS).map(|_| Id::from(uuid::Uuid::new_v4())).collect();
        for id in &ids {
            diesel::insert_into(sessions::table)
                .values((
                    sessions::id.eq(id),
                    sessions::user_id.eq(user),
                    sessions::client_id.eq("doorward"),
                    sessions::family_hash.eq([0; 32].as_slice()),
                    sessions::generation.eq(0_i64),
                    sessions::retry_keys.eq([].as_slice()),
                    sessions::created_at.eq(0_i64),
                    sessions::last_seen_at.eq(0_i64),
                    sessions::expires_at.eq(0_i64),
                    sessions::ends_at.eq(0_i64),
                ))
                .execute(&mut c)
                .unwrap();
        }
        Self { pool, sessions: ids, generation: Arc::default() }
    }

    fn run(&self, time: Duration) -> f64 {
        let first = i64::try_from(self.generation.fetch_add(1 << 32, Ordering::Relaxed)).unwrap();
        let mut c = self.pool.get().unwrap();
        let own = sessions::table.filter(sessions::id.eq_any(&self.sessions));
        let start = (sessions::generation.eq(first), sessions::rotated_at.eq(None::<i64>));
        diesel::update(own).set(start).execute(&mut c).unwrap();
        drop(c);
        let count = AtomicU64::new(0);
        let began = now();
        std::thread::scope(|scope| {
            for id in &self.sessions {
                let count = &count;
                scope.spawn(move || {
                    for generation in first.. {
                        if now() - began >= time {
                            break;
                        }
                        let mut c = self.pool.get().unwrap();
                        assert_eq!(rotate(&mut c, *id, generation), 1);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        per_second(&count, began)
    }
}

fn rotate(c: &mut PgConnection, id: Id, generation: i64) -> usize {
    let row = sessions::table
        .filter(sessions::id.eq(id))
        .filter(sessions::generation.eq(generation))
        .filter(sessions::rotated_at.eq(generation).or(sessions::rotated_at.is_null()))
        .filter(sessions::retry_keys.eq([].as_slice()))
        .filter(sessions::revoked_at.is_null());
    diesel::update(row)
        .set((
            sessions::generation.eq(generation + 1),
            sessions::rotated_at.eq(generation + 1),
            sessions::last_seen_at.eq(generation),
            sessions::expires_at.eq(generation),
        ))
        .execute(c)
        .unwrap()
}

fn per_second(count: &AtomicU64, began: Instant) -> f64 {
    let count = u32::try_from(count.load(Ordering::Relaxed)).expect("fewer than 2^32");
    f64::from(count) / (now() - began).as_secs_f64()
}

fn now() -> Instant {
    Clock::system().monotonic()
}
