//! Refreshes on PostgreSQL: each rotates, and so is written.

use std::sync::atomic::{AtomicI64, Ordering};

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use doorward::database::Id;
use doorward::database::schema::{sessions, users};
use uuid::Uuid;

use super::Effort;
use super::clients::{median, rate, repeated};
use super::cluster::Cluster;
use super::data::Data;
use super::report::{Figure, Report};
use super::service::{STRICT, Service};

const CLIENTS: u32 = 64;

/// Connections, of the service and of the floor.
const POOL: u32 = 8;

/// Rotations by HTTP clients, compared with the statement that stores one, run by as many threads
/// on as many connections to the same server.
pub fn refreshes(effort: Effort, report: &mut Report) {
    let cluster = Cluster::start(&[]);
    let url = cluster.empty_database();
    let (data, pool) = (Data::of(0), POOL.to_string());
    let settings = [("DATABASE_URL", &*url), ("DATABASE__POOL_SIZE", &*pool), STRICT];
    let service = Service::start(&data, &settings);
    let mut tokens = service.sessions(CLIENTS);
    let mut floor = Floor::prepare(&url);
    let (mut rates, mut floor_rates) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        floor_rates.push(floor.run(effort));
        rates.push(rate(service.address, &mut tokens, effort.time, |client, own| {
            own.renew(client);
        }));
    }
    let what = format!("refresh on PostgreSQL, each a rotation, {CLIENTS} clients");
    let floor = format!("the same UPDATE, {POOL} connections");
    report.add(Figure::new(what, median(rates), "/s").over(floor, median(floor_rates)));
}

/// The statement that stores a rotation, with nothing around it.
struct Floor {
    pool: Pool<ConnectionManager<PgConnection>>,
    sessions: Vec<Id>,
    generation: AtomicI64,
}

impl Floor {
    fn prepare(url: &str) -> Self {
        let manager = ConnectionManager::<PgConnection>::new(url);
        let pool = Pool::builder().max_size(POOL).build(manager).unwrap();
        let mut c = pool.get().unwrap();
        let user = Id::from(Uuid::new_v4());
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
        let ids: Vec<Id> = (0..CLIENTS).map(|_| Id::from(Uuid::new_v4())).collect();
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
        Self { pool, sessions: ids, generation: AtomicI64::new(0) }
    }

    fn run(&mut self, effort: Effort) -> f64 {
        let first = self.generation.fetch_add(1 << 32, Ordering::Relaxed);
        let own = sessions::table.filter(sessions::id.eq_any(&self.sessions));
        let start = (sessions::generation.eq(first), sessions::rotated_at.eq(None::<i64>));
        diesel::update(own).set(start).execute(&mut self.pool.get().unwrap()).unwrap();
        let pool = &self.pool;
        repeated(&mut self.sessions, effort.time, |id| {
            let mut generations = first..;
            move || {
                let generation = generations.next().unwrap();
                assert_eq!(rotate(&mut pool.get().unwrap(), *id, generation), 1);
            }
        })
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
