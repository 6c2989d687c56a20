//! Second factors: enrolment, login, changes by the owner, limits, step-up, policy and operators.

mod costs;
mod enrolment;
mod guesses;
mod login;
mod operators;
mod policy;
mod proof;
mod races;
mod reset;
mod step_up;
