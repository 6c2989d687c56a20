//! Quantities that grow with the number of users, and others that do not.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;

use super::Effort;
use super::client::Client;
use super::clients::{median, rate};
use super::data::Data;
use super::picture::Costs;
use super::report::{Figure, Report};
use super::requests::{log_in, next_of};
use super::service::{STRICT, Service};

const FEW: u32 = 1_000;

/// A number between these and the many, a multiple of [`CLIENTS`], too.
const MIDDLE: u32 = 32_000;

/// The number of starts, of which the median counts.
const STARTS: usize = 5;

/// Refreshes after which the database is measured.
const REFRESHES: u32 = 2_000;

/// Clients that refresh; the numbers of users are multiples of it.
const CLIENTS: u32 = 8;

/// A step through the users that is prime to their number, so that consecutive ones are not
/// neighbours.
const STEP: u32 = 7_919;

/// Start-up, sizes and costs with `many` users and sessions, compared with a thousand.
pub fn growth(many: u32, effort: Effort, report: &mut Report) -> Costs {
    eprintln!("(a database with {many} users and sessions is being created)");
    let (empty, few, many) = (Data::of(0), Data::of(FEW), Data::of(many));
    let middle = Data::of(MIDDLE);
    start_up(&empty, 100.0, report);
    start_up(&many, 300.0, report);
    per_refresh(&few, report);
    costs([&few, &middle, &many], effort, report)
}

fn start_up(data: &Data, bound: f64, report: &mut Report) {
    // The first start generates the signing key.
    drop(Service::start(data, &[]));
    let starts = (0..STARTS).map(|_| Service::start(data, &[]).ready_after.as_secs_f64() * 1e3);
    let what = format!("start-up until ready, {} users", data.users);
    report.add(Figure::new(what, median(starts.collect()), "ms").at_most(bound));
}

/// The size of a token, and the growth of the database per refresh.
fn per_refresh(data: &Data, report: &mut Report) {
    // The first start generates the signing key.
    drop(Service::start(data, &[]));
    let (rows_before, bytes_before) = data.size();
    let service = Service::start(data, &[STRICT]);
    let mut client = Client::connect(service.address);
    let mut length = 0;
    for turn in 0..REFRESHES {
        let token = data.refresh_token_after(turn, turn / FEW);
        let answer = client.post("/refresh", &[("refresh_token", &token)]).expect(200);
        length = answer.text("access_token").len();
    }
    drop(service);
    let (rows, bytes) = data.size();
    let each = |after: i64, before: i64| {
        f64::from(i32::try_from(after - before).unwrap()) / f64::from(REFRESHES)
    };
    let length = f64::from(u32::try_from(length).unwrap());
    report.add(Figure::new("an access token", length, "bytes").at_most(450.0));
    report.add(Figure::new("rows for a refresh", each(rows, rows_before), "").at_most(0.0));
    let what = "growth of the database for a refresh";
    report.add(Figure::new(what, each(bytes, bytes_before), "bytes"));
}

fn costs([few, middle, many]: [&Data; 3], effort: Effort, report: &mut Report) -> Costs {
    let seen = REFRESHES / FEW;
    let mut services =
        [(few, Walk::new(few, seen)), (middle, Walk::new(middle, 0)), (many, Walk::new(many, 0))];
    let [floor, memory] = [0, 2].map(|at: usize| services[at].1.service.memory());
    let what = format!("memory after the start, {} users and sessions", many.users);
    report.add(Figure::new(what, memory, "MiB").over(format!("with {FEW}"), floor));
    let mut costs: [[Vec<f64>; 2]; 3] = Default::default();
    for _ in 0..effort.runs {
        for ((data, walk), [logins, refreshes]) in services.iter_mut().zip(&mut costs) {
            logins.push(1e6 / walk.logins(data, effort));
            refreshes.push(1e6 / walk.refreshes(data, effort));
        }
    }
    let costs = costs.map(|of_one| of_one.map(median));
    let [[login, refresh], _, [login_many, refresh_many]] = costs;
    let floor = format!("with {FEW} users");
    for (what, cost, floor_cost) in
        [("login", login_many, login), ("refresh", refresh_many, refresh)]
    {
        let what = format!("a {what} with {} users", many.users);
        report.add(Figure::new(what, cost, "µs").over(&*floor, floor_cost).at_most(1.3));
    }
    let users = [few, middle, many].map(|data| data.users).to_vec();
    let [logins, refreshes] = [0, 1].map(|at: usize| costs.map(|of_one| of_one[at]).to_vec());
    Costs { users, logins, refreshes }
}

/// A walk through all users and their sessions, in large steps.
struct Walk {
    service: Service,
    user: AtomicU32,
    /// For each client: its turn, and how often it has refreshed each session. Clients never share
    /// a session, because the number of users is a multiple of theirs.
    clients: Vec<(u32, HashMap<u32, u32>)>,
    /// How often each session was refreshed before.
    before: u32,
}

impl Walk {
    fn new(data: &Data, before: u32) -> Self {
        let service = Service::start(data, &[STRICT]);
        let clients = (0..CLIENTS).map(|client| (client, HashMap::new())).collect();
        Self { service, user: AtomicU32::new(0), clients, before }
    }

    fn logins(&self, data: &Data, effort: Effort) -> f64 {
        rate(self.service.address, &mut [(); 4], effort.time, |client, ()| {
            let user = far(next_of(&self.user), data.users);
            log_in(client, data, user);
        })
    }

    fn refreshes(&mut self, data: &Data, effort: Effort) -> f64 {
        let Self { service, clients, before, .. } = self;
        rate(service.address, clients, effort.time, |client, (turn, generations)| {
            let session = far(*turn, data.users);
            let generation = generations.entry(session).or_insert(*before);
            let token = data.refresh_token_after(session, *generation);
            client.post("/refresh", &[("refresh_token", &token)]).expect(200);
            *generation += 1;
            *turn += CLIENTS;
        })
    }
}

fn far(turn: u32, users: u32) -> u32 {
    let (turn, step, users) = (u64::from(turn), u64::from(STEP), u64::from(users));
    u32::try_from(turn * step % users).unwrap()
}
