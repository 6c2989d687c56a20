//! `kill -9` under load, and what is there after the restart.

mod acknowledged;
mod first_start;
