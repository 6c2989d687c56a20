//! `kill -9` under load, and the data after the restart.

mod acknowledged;
mod first_start;
